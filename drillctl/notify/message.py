"""What people are told, in words (pure): the changes of one look, or the end of a drill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drillctl.inventory import Inventory
    from drillctl.patrol.event import Event
    from drillctl.report.model import Report

Topic = Literal["alarm", "recovery", "drill"]
Severity = Literal["success", "warning", "failure"]

_TOPICS: dict[str, Topic] = {"ALARM": "alarm", "recovered": "recovery"}
_VERDICTS: dict[str, Severity] = {
    "passed": "success",
    "failed": "failure",
    "restore-incomplete": "failure",
}


@dataclass(frozen=True)
class Message:
    """One message. `topic` decides which channels get it."""

    topic: Topic
    severity: Severity
    title: str
    body: str


def of_events(inventory: Inventory, events: Sequence[Event], still: int) -> list[Message]:
    """Return at most one message of alarms and one of recoveries; `still` is the number of alarms that there are."""
    messages = []
    topics: tuple[Topic, ...] = ("alarm", "recovery")
    for topic in topics:
        told = [event for event in events if _TOPICS.get(event.word) == topic]
        if not told:
            continue
        lines = [event.line() for event in told]
        if topic == "recovery":
            lines.append("All is well again." if still == 0 else f"{still} alarms are left; `drillctl status` tells.")
        more = f" and {len(told) - 1} more" if len(told) > 1 else ""
        word = "ALARM" if topic == "alarm" else "recovered"
        text = told[0].text.removeprefix("no longer: ")
        title = f"{_estate(inventory)}: {word}: {text}{more}"
        messages.append(Message(topic, "failure" if topic == "alarm" else "success", title, "\n".join(lines)))
    return messages


def of_report(inventory: Inventory, report: Report) -> Message:
    """Return the message at the end of a drill: the verdict, each objective with its measurement, the run."""
    lines = [f"verdict: {report.verdict} (exit code {report.exit_code})"]
    if report.reason:
        lines.append(report.reason)
    lines += [f"{one.name}: {one.measured}, wanted {one.rule}" for one in report.objectives]
    lines += [f"run: {report.run_id}", f"`drillctl report {report.run_id}` shows it"]
    title = f"{_estate(inventory)}: drill {report.playbook} {report.verdict}"
    return Message("drill", _VERDICTS.get(report.verdict, "warning"), title, "\n".join(lines))


def _estate(inventory: Inventory) -> str:
    return f"drillctl, {inventory.name} ({inventory.environment})"
