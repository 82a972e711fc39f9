"""The report as Markdown, for a pull request, a wiki, or the summary of a CI job (pure)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from drillctl.report.gates import gates_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from drillctl.report.model import Report

_MET = {True: "✓ met", False: "✗ **MISSED**", None: "? not measured"}
_SYMBOLS = {"passed": "✓", "failed": "✗", "restore-incomplete": "✗"}


def render(report: Report) -> str:
    """Return the report; what comes from hosts and people is shown as text, never as markup."""
    parts = [
        f"## {_SYMBOLS.get(report.verdict, '?')} {report.verdict.upper()}: {text(report.playbook)} "
        f"on {text(report.inventory)}",
        f"{report.meaning} (exit code {report.exit_code}). {text(report.environment)}, {report.started_at[:19]}Z, "
        f"{report.seconds:.0f} s.",
    ]
    if report.reason:
        parts.append(f"**Why:** {text(report.reason)}" + (f" Next: {text(report.hint)}" if report.hint else ""))
    if report.objectives:
        rows = [(o.name, o.rule, o.measured, _MET[o.met]) for o in report.objectives]
        parts.append(_table(("objective", "rule", "measured", "result"), rows, marked=3))
    if gates := gates_of(report):
        rows = [(gate.name, gate.rule, gate.found, gate.word) for gate in gates]
        parts.append(_table(("gate", "rule", "found", "result"), rows))
    parts.append(_list("What clients saw", _traffic(report)))
    parts.append(_list("Put back", _restore(report)))
    parts.append(_list("Deviations", [*report.deviations, *(f"not proven: {what}" for what in report.not_proven)]))
    parts.append(_list("Follow-ups", report.follow_ups))
    diffs = report.config_diffs or ({"gateway": report.config_diff} if report.config_diff else {})
    parts += [f"### Gateway config: {text(host)}\n\n{_fenced(diff)}" for host, diff in diffs.items()]
    steps = [(f"{s.started:.1f} s", s.name, s.host, s.status, s.detail, f"{s.seconds:.2f} s") for s in report.steps]
    parts.append("### Steps\n\n" + _table(("at", "step", "host", "result", "what", "took"), steps))
    people = report.context.people
    who = [
        f"approved by {people.approver or 'nobody recorded'}",
        f"participants: {', '.join(people.participants) or 'none recorded'}",
        f"run {report.run_id} by {people.operator or 'an unrecorded operator'}, drillctl {report.drillctl_version}",
    ]
    parts.append(_list("Who and with what", who))
    return "\n\n".join(part for part in parts if part) + "\n"


def text(value: str) -> str:
    """Return a text that Markdown shows as it is: no markup, no HTML, one line."""
    value = " ".join(value.split())
    value = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]|#~!@])", r"\\\1", value)


def _traffic(report: Report) -> list[str]:
    traffic = report.traffic
    if not traffic.sent:
        return ["no traffic was sent"]
    served = ", ".join(f"{number} by {zone}" for zone, number in traffic.by_zone.items()) or "none"
    failed = ", ".join(f"{number} × {kind}" for kind, number in traffic.kinds.items())
    found = [f"outage: {report.recovery.said}", f"{traffic.sent} requests at {traffic.rate:g}/s: answered {served}"]
    found.append(f"{traffic.failed} failed" + (f": {failed}" if failed else ""))
    if report.equality.compared:
        equality = report.equality
        found.append(f"{equality.identical} of {equality.compared} outputs identical ({equality.rule})")
    return found


def _restore(report: Report) -> list[str]:
    restore = report.restore
    config = {True: "gateway config identical byte for byte", False: "gateway config DIFFERS", None: ""}
    found = [restore.verdict, config[restore.config_identical]]
    if restore.failed_requests is not None:
        found.append(f"{restore.failed_requests} requests failed meanwhile")
    return [*(f"NOT put back: {what}" for what in restore.left), *filter(None, found)]


def _list(title: str, entries: Iterable[str]) -> str:
    lines = [f"- {text(entry)}" for entry in entries]
    return f"### {title}\n\n" + "\n".join(lines) if lines else ""


def _table(names: Sequence[str], rows: Iterable[Sequence[str]], *, marked: int = -1) -> str:
    """Return a table; the cells of the column `marked` are our own Markdown."""
    lines = [_row(names), _row(["---"] * len(names))]
    lines += [_row([cell if n == marked else text(cell) for n, cell in enumerate(row)]) for row in rows]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _fenced(content: str) -> str:
    """Return a code block whose fence is longer than any run of backticks within."""
    longest = max((len(run) for run in re.findall(r"`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}diff\n{content.rstrip()}\n{fence}"
