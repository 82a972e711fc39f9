"""The gates before a drill: each with its rule, what was found, and whether it lets the drill through (pure).

Agreement, window, blackout and interval are decided on this machine, before any host is touched. The lease and the
checks of the steady state follow on the hosts; `of_steps` reads them from how the steps ended.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, get_args

from drillctl import windows
from drillctl.last_drill import Unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from drillctl.gate_plan import Window
    from drillctl.inventory import Inventory
    from drillctl.last_drill import LastDrill
    from drillctl.playbook import Check, Playbook
    from drillctl.run import StepRecord

Overridable = Literal["window", "blackout", "interval"]
OVERRIDABLE: tuple[Overridable, ...] = get_args(Overridable)
"""The gates that a person may override, with a reason: those of the calendar. What hosts say is not overridden."""

AGREEMENT = "agreement"
"""The gate that a person opens; never overridden."""

CHECK_RULES: Mapping[Check, str] = {
    "health": "every server of both zones is ready",
    "role": "every server has its zone's role",
    "model": "the pinned model, on disk and as loaded",
    "environment": "nothing differs that could change an output",
    "isolation": "the zones share no machine and no failure domain",
    "gateway": "configured for the primary, and it answers",
    "equality": "the standby answers as the primary does",
    "capacity": "the standby carries the current rate",
}
"""What each check of the steady state asks for, in words."""


@dataclass(frozen=True)
class Gate:
    """One gate: what it asks for, what was found, whether it lets the drill through (None: it was not reached).

    `opens` says when a closed one will let it through. `overridden` is the reason of the person who did that.
    """

    name: str
    rule: str
    found: str
    passed: bool | None
    opens: str = ""
    overridden: str = ""

    @property
    def lets_through(self) -> bool:
        """Tell whether the drill may go on."""
        return self.passed is True or bool(self.overridden)


def of_calendar(
    inventory: Inventory,
    now: datetime,
    needed: timedelta,
    last: LastDrill | Unknown | None,
    overrides: Mapping[str, str],
) -> tuple[Gate, ...]:
    """Return the gates of the calendar that an inventory asks for, as they are `now` (aware).

    `needed` is the longest time that the drill may take, `last` the last drill of this estate, and `overrides` are
    reasons by gate; the reason of a gate that is open anyway is not used.
    """
    plan = inventory.gates
    gates: list[Gate] = []
    if plan.windows:
        gates.append(_window(inventory, now, needed))
    if plan.blackouts:
        gates.append(_blackout(inventory, now, needed))
    if plan.minimum_hours_between_drills is not None:
        gates.append(_interval(timedelta(hours=plan.minimum_hours_between_drills), now, last))
    return tuple(g if g.passed else replace(g, overridden=overrides.get(g.name, "")) for g in gates)


def rules(inventory: Inventory, needed: timedelta) -> tuple[tuple[str, str], ...]:
    """Return the gates that are decided before any host is spoken to, as name and rule, for a plan."""
    now = datetime(2000, 1, 1, tzinfo=UTC)
    calendar = [(gate.name, gate.rule) for gate in of_calendar(inventory, now, needed, None, {})]
    return (*calendar, (AGREEMENT, agreement_rule(inventory)))


def agreement_rule(inventory: Inventory) -> str:
    """Return what counts as a person's agreement to a drill of this estate."""
    if inventory.environment == "production":
        return "the name of a production estate, typed or with --confirm"
    return "a person says yes, or --yes"


def of_steps(playbook: Playbook, records: Iterable[StepRecord]) -> tuple[Gate, ...]:
    """Return the lease and the checks of the steady state as gates, from how the steps before the fault ended."""
    ended = {record.name: record for record in records if record.section == "before"}
    wanted = [("lease", "connect", "no other drill holds the lease of any host")]
    wanted += [(check, check, CHECK_RULES[check]) for check in playbook.steady_state]
    return tuple(
        Gate(name, rule, record.detail, record.status == "ok")
        if (record := ended.get(step)) is not None
        else Gate(name, rule, "not reached", None)
        for name, step, rule in wanted
    )


def refusal(gates: Iterable[Gate]) -> tuple[str, str] | None:
    """Return why closed gates keep a drill from starting, and what to do; None when all let it through."""
    closed = [gate for gate in gates if not gate.lets_through]
    if not closed:
        return None
    # What was not looked at because of another one says nothing.
    closed = [gate for gate in closed if gate.passed is False] or closed
    why = "; ".join(f"{gate.name}: {gate.found}" for gate in closed)
    opens: dict[str, list[str]] = {}
    for gate in closed:
        opens.setdefault(gate.opens, []).append(gate.name)
    said = [(when if len(shut) == 1 else when.replace("opens", "open", 1), shut) for when, shut in opens.items()]
    hint = "; ".join(f"{' and '.join(shut)} {when}" for when, shut in said if when)
    names = [gate.name for gate in closed if gate.name in OVERRIDABLE]
    if names:
        options = " ".join(f"--override-gate {name}" for name in names)
        hint += f"; for a real emergency: {options} --reason TEXT"
    return why, hint


def _window(inventory: Inventory, now: datetime, needed: timedelta) -> Gate:
    """Open if the drill fits into it whole: one that begins a second before its end would run outside of it."""
    plan = inventory.gates.model_copy(update={"blackouts": ()})
    rule = f"within {_or(_window_in_words(window) for window in plan.windows)} ({plan.time_zone})"
    rule += f", with {duration(needed)} to go"
    current = next(windows.spans(plan, now), None)
    if current is not None and current.holds(now, needed):
        until = f", until {moment(inventory, current.closes)}" if current.closes else ""
        return Gate("window", rule, f"open{until}", passed=True)
    if windows.window_at(plan, now) and current is not None and current.closes is not None:
        found = f"it closes at {moment(inventory, current.closes)}, in {duration(current.closes - now)}"
    else:
        found = f"closed at {moment(inventory, now)}"
    return Gate("window", rule, found, passed=False, opens=_opens(inventory, now, needed))


def _blackout(inventory: Inventory, now: datetime, needed: timedelta) -> Gate:
    """Close on the days of a blackout, and before them where the drill might go on into one."""
    plan = inventory.gates
    rule = f"none of {len(plan.blackouts)} blackouts" if len(plan.blackouts) > 1 else "not in the blackout"
    rule += f" ({plan.time_zone})"
    current = windows.blackout_within(plan, now, needed)
    if current is None:
        return Gate("blackout", rule, "none today", passed=True)
    last = current.last_day or current.first_day
    days = f"{current.first_day}" if last == current.first_day else f"{current.first_day} to {last}"
    found = f"{days}: {current.reason}"
    if windows.blackout_at(plan, now) is None:
        found = f"the drill may take {duration(needed)}, and so run into {found}"
    return Gate("blackout", rule, found, passed=False, opens=_opens(inventory, now, needed))


def _interval(minimum: timedelta, now: datetime, last: LastDrill | Unknown | None) -> Gate:
    rule = f"at least {duration(minimum)} since the last drill"
    if last is None:
        return Gate("interval", rule, "no earlier drill is known here", passed=True)
    if isinstance(last, Unknown):
        return Gate("interval", rule, last.why, passed=False)
    age = now - last.at
    when = f"{last.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if age < timedelta():
        found = f"the last one, {last.run_id}, began at {when}, which is to come: the clock was put back"
    else:
        found = f"the last one, {last.run_id}, began {duration(age)} ago"
    if age >= minimum:
        return Gate("interval", rule, found, passed=True)
    due = f"opens at {(last.at + minimum).astimezone(UTC):%Y-%m-%d %H:%M} UTC, in {duration(last.at + minimum - now)}"
    return Gate("interval", rule, found, passed=False, opens=due)


def _opens(inventory: Inventory, now: datetime, needed: timedelta) -> str:
    """Say when windows and blackouts together let a drill through."""
    span = windows.next_fitting(inventory.gates, now, needed)
    if span is None:
        return f"never opens for {duration(needed)} within the next {windows.HORIZON.days} days"
    return f"opens at {moment(inventory, span.opens)}, in {duration(span.opens - now)}"


def _window_in_words(window: Window) -> str:
    days = "every day" if len(set(window.days)) == 7 else " ".join(window.days)
    return f"{days} {window.opens} to {window.closes}"


def _or(words: Iterable[str]) -> str:
    return " or ".join(words)


def moment(inventory: Inventory, at: datetime) -> str:
    """Return a moment as the estate's clock reads it, with weekday and offset from UTC."""
    local = at.astimezone(windows.zone_of(inventory.gates))
    return f"{local:%a %Y-%m-%d %H:%M} UTC{local:%z}"


def duration(span: timedelta) -> str:
    """Return a duration in words, rounded up: to seconds, to minutes from two of them on, to hours beyond a day."""
    seconds = max(0, -(-span // timedelta(seconds=1)))
    if seconds < 120:
        return f"{seconds} s"
    minutes = -(-seconds // 60)
    if minutes > 1440:
        minutes = -(-minutes // 60) * 60
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number)
