"""All hosts of a gateway at once: asked in parallel, every one waited for, errors joined so that none is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from drillctl.errors import ConnectionLost, DrillctlError, GatewayError
from drillctl.hosts.fleet import each

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from drillctl.inventory import Inventory

H = TypeVar("H")
T = TypeVar("T")


class GatewayHosts(Generic[H]):
    """The hosts of an inventory's gateway, each driven by an object of its own, in `by_name`."""

    def __init__(self, inventory: Inventory, by_name: Mapping[str, H]) -> None:
        self._inventory = inventory
        self.by_name = by_name

    def everywhere(self, work: Callable[[H], T], only: Collection[str] | None = None) -> dict[str, T]:
        """Do something on all hosts (or `only` those) in parallel and wait for all; raise what went wrong, joined."""
        wanted = [host for host in self._inventory.gateway.hosts if only is None or host.name in only]

        def attempt(name: str) -> T | DrillctlError:
            try:
                return work(self.by_name[name])
            except DrillctlError as error:
                return error

        outcomes = each(wanted, lambda host: attempt(host.name))
        errors = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, DrillctlError)}
        if errors:
            raise _joined(errors, [name for name in outcomes if name not in errors])
        return {name: outcome for name, outcome in outcomes.items() if not isinstance(outcome, DrillctlError)}


def _joined(errors: Mapping[str, DrillctlError], done: Iterable[str]) -> DrillctlError:
    """Return one error for all hosts; its state tells them apart."""
    first = next(iter(errors.values()))
    others = list(done)
    if len(errors) == 1 and not others:
        return first
    states = [f"{name}: {error.state or 'see the error'}" for name, error in errors.items()]
    states.extend(f"{name}: done" for name in others)
    message = "; ".join(str(error) for error in errors.values())
    # A drill whose connection was lost says nothing of the service, on however many hosts.
    lost = all(isinstance(error, ConnectionLost) for error in errors.values())
    return (ConnectionLost if lost else GatewayError)(message, hint=first.hint, state="; ".join(states))
