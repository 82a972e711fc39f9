"""The plan and the report for a terminal. Words carry the meaning; colour only repeats it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from drillctl.wrapping import say

if TYPE_CHECKING:
    from rich.console import Console

    from drillctl.gates import Gate
    from drillctl.inventory import Inventory
    from drillctl.plan import Plan
    from drillctl.playbook import Playbook
    from drillctl.report.model import Report

_MET = {True: "[green]met[/]", False: "[bold red]MISSED[/]", None: "[yellow]not measured[/]"}
_VERDICT_STYLE = {"passed": "bold green", "failed": "bold red", "restore-incomplete": "bold white on red"}


def render_plan(
    plan: Plan, inventory: Inventory, playbook: Playbook, console: Console, gates: tuple[Gate, ...] = ()
) -> None:
    """Print what the drill will do: step, host, exact command and its undo, how much is changed, gates as of now."""
    console.print(f"\n[bold]Plan[/] {escape(playbook.name)} on {escape(inventory.name)} ({inventory.environment})")
    table = Table(box=None, padding=(0, 1), show_edge=False, header_style="dim")
    for name in ("step", "host", "does"):
        table.add_column(name, overflow="fold", no_wrap=name != "does")
    for step in plan.steps:
        for number, action in enumerate(step.actions):
            name = plan.title(step) if number == 0 else ""
            table.add_row(f"[bold]{escape(name)}[/]", escape(action.host), escape(action.what))
            if action.undo:
                # Below and not beside it: in half the width paths would be broken in two.
                table.add_row("", "", f"[dim]undone by:[/] {escape(action.undo)}")
    console.print(table)
    for line in plan.closing(inventory):
        console.print(escape(line))
    for gate in gates:
        word = "[green]open[/]" if gate.passed else "[red]CLOSED[/]"
        word = "[bold yellow]OVERRIDDEN[/]" if gate.overridden else word
        opens = f"; {gate.opens}" if gate.opens else ""
        console.print(f"Gate {escape(gate.name)} {word}: {escape(gate.found)}{escape(opens)}")
    console.print()


def render(report: Report, console: Console) -> None:
    """Print the report: what clients saw, what was proven, the objectives, the verdict last."""
    console.print()
    console.rule(f"{escape(report.playbook)} on {escape(report.inventory)}", align="left", style="dim")
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(report):
        facts.add_row(name, escape(value))
    console.print(facts)
    if report.objectives:
        console.print()
        table = Table(box=None, padding=(0, 1), show_edge=False, header_style="dim")
        for name in ("objective", "rule", "measured", ""):
            table.add_column(name, overflow="fold")
        for objective in report.objectives:
            table.add_row(
                escape(objective.name), escape(objective.rule), escape(objective.measured), _MET[objective.met]
            )
        console.print(table)
    _render_verdict(report, console)


def _facts(report: Report) -> list[tuple[str, str]]:
    """Return the lines above the objectives; what was not measured is left out."""
    facts: list[tuple[str, str]] = []
    recovery, traffic, restore = report.recovery, report.traffic, report.restore
    if traffic.sent:
        facts.append(("outage", recovery.said))
        if recovery.detection_seconds is not None and recovery.switch_seconds is not None:
            facts.append(
                ("", f"detected after {recovery.detection_seconds:.2f} s, switched in {recovery.switch_seconds:.2f} s")
            )
        served = ", ".join(f"{number} by {zone}" for zone, number in traffic.by_zone.items())
        failed = "".join(f", {number} × {kind}" for kind, number in traffic.kinds.items())
        facts.append(("traffic", f"{traffic.sent} requests at {traffic.rate:g}/s: {served}{failed}"))
        slow = f"{traffic.slow} slow, {traffic.missed} sent late"
        if traffic.p50_seconds is not None and traffic.p99_seconds is not None:
            slow = f"p50 {traffic.p50_seconds * 1000:.0f} ms, p99 {traffic.p99_seconds * 1000:.0f} ms, {slow}"
        facts.append(("", slow))
    if report.equality.compared:
        equality = report.equality
        said = f"{equality.identical} of {equality.compared} identical ({equality.rule})"
        if equality.noise_floor is not None:
            said += f"; largest difference {equality.score_difference:.1g}, noise floor {equality.noise_floor:.1g}"
        facts.append(("outputs", said))
        facts += [("", f"{d['image']}: {d['what']}") for d in equality.different[:5]]
    if report.model.zones:
        facts.append(
            ("model", f"sha256 {report.model.expected_sha256[:16]}…, the pinned one, on disk and as loaded")
            if _all_pinned(report)
            else ("model", "NOT the pinned one everywhere")
        )
    if restore.verdict == "kept":
        facts.append(("restore", "nothing: the switch was to stay"))
    elif restore.verdict != "nothing to restore" and restore.config_identical is None and not restore.left:
        facts.append(("restore", "what the drill had started was stopped again"))
    elif restore.verdict != "nothing to restore":
        config = {
            True: "gateway config identical byte for byte",
            False: "gateway config DIFFERS",
            None: "gateway config not read",
        }
        failed = "" if restore.failed_requests is None else f", {restore.failed_requests} requests failed meanwhile"
        facts.append(("restore", f"{restore.verdict}: {config[restore.config_identical]}{failed}"))
        facts += [("", f"NOT put back: {what}") for what in restore.left]
    facts += [("not proven", what) for what in report.not_proven]
    facts += [("deviation", what) for what in report.deviations]
    return facts


def _all_pinned(report: Report) -> bool:
    hashes = [value for hosts in report.model.zones.values() for shown in hosts.values() for value in shown.values()]
    return bool(hashes) and all(value == report.model.expected_sha256 for value in hashes)


def _render_verdict(report: Report, console: Console) -> None:
    console.print()
    if report.reason:
        say(console, escape(report.reason))
    style = _VERDICT_STYLE.get(report.verdict, "bold yellow")
    say(
        console,
        f"[{style}]{report.verdict.upper()}[/] {escape(report.meaning)} (exit code {report.exit_code}, "
        f"{report.seconds:.0f} s)",
    )
    if report.hint:
        say(console, f"next:  {escape(report.hint)}")
    say(console, f"[dim]journal, probes and report.json: {escape(report.folder)}[/]")
