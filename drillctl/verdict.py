"""The verdict of a run, from what was measured (pure), and the exit code of each verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["passed", "failed", "inconclusive", "not-started", "aborted", "restore-incomplete"]

EXIT_CODES: dict[Verdict, int] = {
    "passed": 0,
    "failed": 1,
    "inconclusive": 3,
    "not-started": 4,
    "aborted": 5,
    "restore-incomplete": 6,
}

MEANING: dict[Verdict, str] = {
    "passed": "every objective was met, and everything was put back",
    "failed": "an objective was missed; everything was put back",
    "inconclusive": "it could not be measured or the fault could not be proven; everything was put back",
    "not-started": "a gate refused; nothing was changed",
    "aborted": "it was stopped; everything was put back",
    "restore-incomplete": "NOT everything was put back",
}

_KEPT: dict[Verdict, str] = {
    "passed": "every objective was met",
    "failed": "an objective was missed",
    "inconclusive": "it could not be measured",
}
"""What the verdicts of a switch mean that stays, as it was to; with any other verdict it did not stay."""


def meaning(verdict: Verdict, stays_on: str | None = None) -> str:
    """Return what a verdict means; `stays_on` names the zone to which a switch has led that was to stay."""
    if stays_on is not None and verdict in _KEPT:
        return f"{_KEPT[verdict]}; the gateway stays on {stays_on}"
    return MEANING[verdict]


@dataclass(frozen=True)
class Objective:
    """One objective: its rule in words, what was measured, and whether it was met (None: not measured)."""

    name: str
    rule: str
    measured: str
    met: bool | None


def judge(
    objectives: tuple[Objective, ...], *, changed: bool, restored: bool, aborted: bool, refused: bool, broke: bool
) -> Verdict:
    """Return the verdict.

    `changed`: something on a host was changed. `restored`: all of that was put back. `aborted`: somebody asked to
    stop. `refused`: a gate refused before the fault. `broke`: the drill did not come to its end, so that what was
    measured cannot be trusted to be whole. What was left broken outranks everything; an objective that could not be
    measured is never a pass.
    """
    if changed and not restored:
        return "restore-incomplete"
    if aborted:
        return "aborted"
    if refused:
        return "not-started"
    if any(objective.met is False for objective in objectives):
        return "failed"
    if broke or not objectives or any(objective.met is None for objective in objectives):
        return "inconclusive"
    return "passed"
