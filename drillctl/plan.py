"""The plan of a drill: which step does what on which host, and how it is undone (pure).

Made from inventory and playbook alone, so that it can be shown and agreed to before any host is touched.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from drillctl import gates, stop
from drillctl.faults import Fault
from drillctl.gateway import kinds
from drillctl.hosts.service import commands_of
from drillctl.language import (
    ActionStep,
    DetectStep,
    FailbackStep,
    FallbackStep,
    HealStep,
    ObserveStep,
    ProbeStep,
    StartStep,
    SwitchStep,
    VerifyStep,
)
from drillctl.steps.fault import hosts_of
from drillctl.watchdog import asks_standby

if TYPE_CHECKING:
    from drillctl.inventory import Host, Inventory
    from drillctl.playbook import Playbook, RestoreStep, Step

Section = Literal["before", "steps", "restore"]

_GIVEN_UP = ", and a guard as elsewhere, if it answers: its zone is given up"
_GUARD_GOES = "giving the lease back, which removes all of it"


@dataclass(frozen=True)
class Action:
    """One thing that a step does: where, what (a command or words), and its undo; None when it changes nothing."""

    host: str
    what: str
    undo: str | None = None


@dataclass(frozen=True)
class PlannedStep:
    """A step by name, and its actions in order."""

    name: str
    section: Section
    actions: tuple[Action, ...]

    @property
    def changes(self) -> int:
        """Return how many actions change something."""
        return sum(action.undo is not None for action in self.actions)


@dataclass(frozen=True)
class Plan:
    """All steps of a drill in order; `stays_on` names the zone of a switch that is not put back."""

    steps: tuple[PlannedStep, ...]
    stays_on: str | None = None

    @property
    def changes(self) -> int:
        """Return how many actions change something on a host."""
        return sum(step.changes for step in self.steps)

    def title(self, step: PlannedStep) -> str:
        """Return a step's name as people read it: the restore of a switch that stays is for when it is cut short."""
        if step.section != "restore":
            return step.name
        return f"{'restore' if self.stays_on is None else 'if cut short'}: {step.name}"

    def closing(self, inventory: Inventory) -> list[str]:
        """Return the lines below the steps: how much is changed, and what stays."""
        lines = [f"{self.changes} changes, each with its undo; {len(inventory.hosts)} hosts."]
        if self.stays_on is not None:
            lines.append(f"The gateway stays on {self.stays_on}; `if cut short` is done only if the switch breaks off.")
        return lines


def make_plan(inventory: Inventory, playbook: Playbook, *, keep: bool = False, force: bool = False) -> Plan:
    """Return the plan of a playbook on an inventory.

    `keep`: a switch that comes to its end stays. `force`: the primary is given up, and may be out of reach.
    """
    given_up = inventory.zone("primary").hosts if force else ()
    zone_hosts = [
        host for role in ("primary", "standby") for host in inventory.zone(role).hosts if host not in given_up
    ]
    gateways = inventory.gateway.hosts
    to_standby = kinds.words(inventory, inventory.zone("standby").name)
    needed = timedelta(seconds=playbook.stop.time_box_seconds)
    before = [
        *(PlannedStep(name, "before", (Action("", rule),)) for name, rule in gates.rules(inventory, needed)),
        PlannedStep(
            "connect",
            "before",
            tuple(Action(h.name, f"ssh {h.address}{_GIVEN_UP if h in given_up else ''}") for h in inventory.hosts),
        ),
        PlannedStep(
            "guard",
            "before",
            tuple(Action(h.name, _guard(playbook), _GUARD_GOES) for h in inventory.hosts if h not in given_up),
        ),
        PlannedStep("config", "before", tuple(Action(g.name, to_standby.read) for g in gateways)),
        PlannedStep(
            "start",
            "before",
            tuple(
                Action(h.name, f"if it is not running: {command}", "; ".join(commands_of(inventory, h, "stop")))
                for h in zone_hosts
                for command in commands_of(inventory, h, "start")
            ),
        ),
        PlannedStep("steady state", "before", tuple(Action("", f"check {check}") for check in playbook.steady_state)),
        PlannedStep("arm", "before", tuple(action for g in gateways for action in _arm(inventory, g))),
        PlannedStep("traffic", "before", (Action("", _traffic(inventory, playbook)),)),
    ]
    steps = [_step(inventory, playbook, step, "steps") for step in playbook.steps]
    restore = [_step(inventory, playbook, step, "restore") for step in playbook.restore]
    if force:
        restore = [_if_it_answers(step, inventory.zone("primary").name) for step in restore]
    stops = PlannedStep(
        "stop if",
        "steps",
        tuple(Action("", what) for what in stop.in_words(playbook.stop, standby=asks_standby(playbook))),
    )
    return Plan((*before, stops, *steps, *restore), inventory.zone("standby").name if keep else None)


def _guard(playbook: Playbook) -> str:
    ttl = playbook.guard.ttl_seconds
    return f"guard.sh with a lease of {ttl} s, and its watch; as root also a timer and a boot unit"


def _if_it_answers(step: PlannedStep, zone: str) -> PlannedStep:
    """Return a step of the restore after a zone was given up: clients are sent back only if that one is fit."""
    return replace(step, actions=tuple(replace(a, what=f"if {zone} answers: {a.what}") for a in step.actions))


def _traffic(inventory: Inventory, playbook: Playbook) -> str:
    traffic = playbook.traffic
    url = inventory.gateway.url.rstrip("/") + inventory.service.paths.predict
    return f"POST images to {url}, {traffic.rate:g} a second, until the end; {traffic.baseline_seconds:g} s of baseline"


def _arm(inventory: Inventory, host: Host) -> list[Action]:
    words = kinds.words(inventory, inventory.zone("standby").name)
    return [Action(host.name, words.stage, "remove it")] if words.stage else []


def _step(inventory: Inventory, playbook: Playbook, step: Step | RestoreStep, section: Section) -> PlannedStep:
    return PlannedStep(step.name or step.step, section, _actions(inventory, playbook, step))


def _actions(inventory: Inventory, playbook: Playbook, step: Step | RestoreStep) -> tuple[Action, ...]:
    gateway = inventory.gateway
    match step:
        case Fault():
            return tuple(Action(h.name, *step.does(inventory, h)) for h in hosts_of(inventory, step))
        case DetectStep():
            return (Action("", _detect(step)),)
        case SwitchStep():
            name = inventory.zone(step.to).name
            words = kinds.words(inventory, name)
            return tuple(Action(g.name, words.switch, words.undo) for g in gateway.hosts)
        case VerifyStep():
            name = inventory.zone(step.zone).name
            seconds = playbook.traffic.observation_seconds
            return (
                Action("", f"{seconds:g} s of good answers from {name}, the same outputs, named in the access log"),
            )
        case FallbackStep():
            return (
                Action("", f"clients get 503 with the fallback's JSON within {step.answer_seconds:g} s, every time"),
            )
        case ObserveStep():
            return (Action("", f"let clients go on for {step.seconds:g} s"),)
        case StartStep():
            return tuple(Action(h.name, _undone(inventory, playbook, h)) for h in inventory.zone(step.zone).hosts)
        case HealStep():
            struck = {h.name: h for f in playbook.steps if isinstance(f, Fault) for h in hosts_of(inventory, f)}
            actions = tuple(Action(h.name, _undone(inventory, playbook, h)) for h in struck.values())
            return actions or (Action("", "undo what is outstanding"),)
        case FailbackStep():
            words = kinds.words(inventory, inventory.zone("primary").name)
            return tuple(Action(g.name, words.restore) for g in gateway.hosts)
        case ProbeStep() | ActionStep():
            return (_custom(step),)


def _undone(inventory: Inventory, playbook: Playbook, host: Host) -> str:
    """Say how everything that strikes a host is undone, the last first."""
    faults = [f for f in playbook.steps if isinstance(f, Fault) and host in hosts_of(inventory, f)]
    return "; ".join(fault.does(inventory, host)[1] for fault in reversed(faults)) or "nothing was done to it"


def _detect(step: DetectStep) -> str:
    rules = [f"{step.failures} failed requests in a row"] if step.failures is not None else []
    if step.rate is not None:
        rules.append(f"{step.rate.share:.0%} failed in {step.rate.seconds:g} s")
    said = f"{' or '.join(rules)}, {step.within_seconds:g} s at most"
    return f"wait for {said}" if step.expect == "failure" else f"see that there are no {said}"


def _custom(step: ProbeStep | ActionStep) -> Action:
    undo = getattr(step, "undo", None)
    if step.command is not None:
        return Action(step.command.host, shlex.join(step.command.run), shlex.join(undo) if undo else None)
    if step.http is not None:
        return Action("", f"{step.http.method} {step.http.url or step.http.path}: {step.http.status}")
    called = step.python.function if step.python else ""
    return Action("", f"the Python function {called}")
