"""The gates of a drill as every form of the report shows them (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from drillctl.report.model import Report


class ShownGate(NamedTuple):
    """A gate: what it asks for, what was found, whether it was passed (None: not reached), why it was overridden."""

    name: str
    rule: str
    found: str
    passed: bool | None
    overridden: str | None

    @property
    def tone(self) -> str:
        """How it is coloured."""
        if self.overridden or self.passed is None:
            return "doubt"
        return "good" if self.passed else "bad"

    @property
    def word(self) -> str:
        """How it ended, in words."""
        if self.overridden:
            return f"– overridden: {self.overridden}"
        return {True: "✓ passed", False: "✗ REFUSED", None: "? not reached"}[self.passed]


def gates_of(report: Report) -> list[ShownGate]:
    """Return the gates of a report; one that an older drillctl wrote has none."""
    return [ShownGate(gate.name, gate.rule, gate.found, gate.passed, gate.overridden) for gate in report.gates]
