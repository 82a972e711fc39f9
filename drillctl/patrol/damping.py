"""When a finding becomes an alarm, and when the alarm is over: only what holds for several looks in a row (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from drillctl.patrol.finding import Finding

Word = Literal["suspect", "vanished", "alarm", "changed", "recovered"]


@dataclass(frozen=True)
class Change:
    """What became of a finding with a look. `since` is when it was first seen."""

    word: Word
    finding: Finding
    since: datetime


@dataclass
class _State:
    finding: Finding
    since: datetime
    seen: int = 0
    gone: int = 0
    alarmed: bool = False


class Damping:
    """Findings over time; `hold` is the number of looks in a row that a change must last."""

    def __init__(self, hold: int = 2) -> None:
        self.hold = hold
        self._states: dict[str, _State] = {}

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """Return what is an alarm now."""
        return tuple(state.finding for state in self._states.values() if state.alarmed)

    def update(self, findings: Iterable[Finding], at: datetime) -> list[Change]:
        """Take in what a look found; return what changed by it.

        A finding is a `suspect` when first seen, an `alarm` once it has held, and `recovered` once it has been gone for
        as long; what was gone before it became an alarm `vanished`. An alarm whose words change is said again.
        """
        changes: list[Change] = []
        now = {finding.key: finding for finding in findings}
        for key, finding in now.items():
            state = self._states.get(key)
            if state is None:
                state = self._states[key] = _State(finding, at)
                if self.hold > 1:
                    changes.append(Change("suspect", finding, at))
            state.seen, state.gone = state.seen + 1, 0
            if not state.alarmed and state.seen >= self.hold:
                state.alarmed = True
                changes.append(Change("alarm", finding, state.since))
            elif state.alarmed and state.finding.text != finding.text:
                changes.append(Change("changed", finding, state.since))
            state.finding = finding
        for key in [key for key in self._states if key not in now]:
            state = self._states[key]
            state.seen, state.gone = 0, state.gone + 1
            if not state.alarmed:
                changes.append(Change("vanished", state.finding, state.since))
                del self._states[key]
            elif state.gone >= self.hold:
                changes.append(Change("recovered", state.finding, state.since))
                del self._states[key]
        return changes
