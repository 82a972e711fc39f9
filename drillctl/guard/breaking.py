"""Ending the lease of a run by hand, on every host that can be reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drillctl.errors import DrillctlError, HostError, UsageError
from drillctl.guard import recovery
from drillctl.guard.client import GuardClient
from drillctl.hosts import fleet as fleets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from drillctl.guard.lease import Holding
    from drillctl.inventory import Inventory


@dataclass
class Broken:
    """Where the lease was ended: hosts whose guard still has something to undo, and those that could not be told."""

    left: list[str] = field(default_factory=list)
    away: list[str] = field(default_factory=list)


def carry_out(inventory: Inventory, run: str, *, forget: bool, say: Callable[[str], None]) -> Broken:
    """End the lease of exactly that run. `say` is told what each guard holds then, and which could not be told.

    In an emergency some hosts may be gone, and must not keep the others from being freed. Raises UsageError when no
    guard holds that run, and HostError when none of those that can be asked does.
    """
    broken = Broken()
    fleet, errors = fleets.connect_all(inventory)
    with fleet:
        holdings = recovery.ask(inventory, fleet)
        errors |= {name: found for name, found in holdings.items() if isinstance(found, DrillctlError)}
        held = {name: found for name, found in holdings.items() if not isinstance(found, DrillctlError)}
        holders = [name for name, holding in held.items() if holding.run == run]
        if not holders:
            raise _nobody(run, held, errors)
        # As `recover` does it: the gateway goes back only to a zone that answers.
        gateways = {host.name for host in inventory.gateway.hosts}
        for name in sorted(holders, key=lambda host: (host in gateways, host)):
            try:
                after = GuardClient(fleet[name]).break_lease(run, forget=forget)
            except HostError as error:
                errors[name] = error
                continue
            if after.state != "free":
                broken.left.append(name)
            for line in recovery.in_words(after):
                say(line)
    for name in sorted(errors):
        broken.away.append(name)
        say(f"{errors[name]}. It could not be told, and its guard undoes what it holds by itself")
    return broken


def _nobody(run: str, held: Mapping[str, Holding], errors: Mapping[str, DrillctlError]) -> DrillctlError:
    others = ", ".join(sorted({holding.run for holding in held.values() if holding.run})) or "nobody"
    if errors:
        one = fleets.joined(list(errors.values()))
        return HostError(
            f"no host that can be asked holds a lease of {run}; {', '.join(sorted(errors))} could not be asked: {one}",
            hint=f"the others are held by: {others}",
            state="nothing was changed",
        )
    return UsageError(
        f"no host's lease is held by {run}",
        hint=f"held by: {others}; the id must be exact",
        state="nothing was changed",
    )
