"""What is left to do after a drill, from what it found (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drillctl.report.model import Report

CLOCKS_APART = 1.0
"""Seconds between two clocks from which on their logs can no longer be read side by side."""

LATE_SHARE = 0.01
"""Share of requests sent late from which on the client's machine was too slow for the load."""


def follow_ups_of(report: Report) -> list[str]:
    """Return what somebody should do, the most urgent first; an empty list when there is nothing."""
    found = [f"Put back by hand, or by `drillctl recover {report.run_id}`: {what}" for what in report.restore.left]
    if report.reason and report.verdict != "passed":
        found.append(f"Settle why it did not come to its end: {report.reason}" + (_hint(report.hint)))
    for objective in report.objectives:
        if objective.met is False and objective.name != "steps":
            found.append(f"Objective missed: {objective.name} was {objective.measured}, the rule is {objective.rule}.")
        elif objective.met is None:
            found.append(f"Not measured: {objective.name} ({objective.rule}). Drill again.")
    found += [f"Not proven: {what}" for what in report.not_proven]
    found += [f"Find out why, before the next drill: {what}" for what in report.deviations]
    found += [
        f"Make the zones equal, or pin the difference: {d['key']} is {d['primary']} and {d['standby']}."
        for d in report.model.differences
        if d.get("changes_outputs") == "yes"
    ]
    found += [f"Review the waiver of `{check}`: {reason}" for check, reason in report.context.scope.waivers.items()]
    for machine in report.context.machines:
        offset, error = machine.clock_offset_seconds, machine.clock_error_seconds or 0.0
        if offset is not None and abs(offset) - error > CLOCKS_APART:
            found.append(f"Set the clock of {machine.name}: it is {offset:+.1f} s from the controller's.")
    traffic = report.traffic
    if traffic.sent and traffic.missed > LATE_SHARE * traffic.sent:
        found.append(f"Drill from a faster or quieter machine: {traffic.missed} requests were sent late.")
    return found


def _hint(hint: str | None) -> str:
    return f" ({hint})" if hint else ""
