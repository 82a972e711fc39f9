"""Whether a playbook fits an estate, as both files tell: its hosts, its kind of gateway, what may run as root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl import template
from drillctl.errors import FileError
from drillctl.faults import Fault
from drillctl.language import ActionStep, DetectStep, ProbeStep, SwitchStep
from drillctl.steps.fault import hosts_of, without_programs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from drillctl import yamlfile
    from drillctl.inventory import Inventory
    from drillctl.playbook import Playbook

    Misfit = tuple[yamlfile.Location, str]
    """Where in the playbook something does not fit, and what it is."""


def check(path: Path, variables: Mapping[str, str], playbook: Playbook, inventory: Inventory) -> None:
    """See that a playbook fits the inventory. Raises FileError with the places where it does not."""
    if found := misfits(playbook, inventory):
        file = template.load(path, variables)
        raise FileError([f"{file.at(where)}: {message}" for where, message in found])


def misfits(playbook: Playbook, inventory: Inventory) -> list[Misfit]:
    """Return what of a playbook does not fit an estate (pure)."""
    wanted, kind = playbook.expects.gateway, inventory.gateway.kind
    if wanted is not None and kind not in wanted:
        said = f"the playbook is for gateways of kind {' or '.join(wanted)}; that of `{inventory.name}` is {kind}"
        return [(("expects", "gateway"), said)]
    return [*_strangers(playbook, inventory), *_of_gateway(playbook, inventory), *_as_root(playbook, inventory)]


def _strangers(playbook: Playbook, inventory: Inventory) -> Iterator[Misfit]:
    names = [host.name for host in inventory.hosts]
    for section, steps in (("steps", playbook.steps), ("restore", playbook.restore)):
        for place, step in enumerate(steps):
            command = step.command if isinstance(step, ProbeStep | ActionStep) else None
            if command is not None and command.host not in names:
                known = f"`{inventory.name}` has {', '.join(names)}"
                message = f"there is no host `{command.host}` in the inventory; {known}"
                yield (section, place, "command", "host"), message


def _of_gateway(playbook: Playbook, inventory: Inventory) -> Iterator[Misfit]:
    if inventory.gateway.kind != "nginx-passive":
        return
    for place, step in enumerate(playbook.steps):
        if isinstance(step, SwitchStep | DetectStep) and getattr(step, "expect", "failure") == "failure":
            message = f"`{step.step}`, but the gateway of `{inventory.name}` fails over by itself"
            yield ("steps", place, "step"), message


def _as_root(playbook: Playbook, inventory: Inventory) -> Iterator[Misfit]:
    """Find faults that the hosts would refuse, because only installed programs run as root there."""
    for place, step in enumerate(playbook.steps):
        if not isinstance(step, Fault):
            continue
        refused = (without_programs(inventory, host, step) for host in hosts_of(inventory, step))
        if refusal := next(filter(None, refused), None):
            yield ("steps", place, "fault"), f"{refusal}; {refusal.hint}"
