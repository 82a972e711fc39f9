"""What `drillctl history` shows: a table of runs, a chart, a page, a JSON document."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from drillctl.history.record import RunRecord
    from drillctl.history.store import History
    from drillctl.history.trend import Trend


def print_runs(runs: Sequence[RunRecord]) -> None:
    """Print runs as a table."""
    from rich.markup import escape
    from rich.table import Table

    from drillctl.cli.console import out
    from drillctl.history.metric import METRICS

    table = Table(box=None, padding=(0, 1), show_edge=False, header_style="dim", pad_edge=False)
    table.add_column("run", no_wrap=True, overflow="ellipsis")
    table.add_column("inventory", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    for name in ("outage", "lost"):
        table.add_column(name, justify="right", no_wrap=True)
    style = {"passed": "green", "failed": "red", "restore-incomplete": "bold red"}
    for run in runs:
        color = style.get(run.verdict, "yellow")
        outage = "" if run.recovery_time is None else METRICS["recovery_time"].said(run.recovery_time)
        lost = "" if run.lost_requests is None else f"{run.lost_requests:g}"
        table.add_row(escape(run.run_id), escape(run.inventory), f"[{color}]{escape(run.verdict)}[/]", outage, lost)
    out().print(table)


def say_none(store: History, *, filtered: bool) -> None:
    """Say that there is no run, and what to do about it."""
    from drillctl.cli.console import out
    from drillctl.history.intake import folders

    there = store.address.shown
    if filtered:
        out().print(f"No run in {there} is like that.", markup=False, soft_wrap=True)
        return
    waiting = len(folders(()))
    hint = f"; `drillctl history import` takes in the {waiting} of the runs folder" if waiting else ""
    out().print(f"No runs yet in {there}{hint}.", markup=False, soft_wrap=True)


def print_trend(found: Trend) -> None:
    """Print a trend as a chart and in words."""
    from rich.text import Text

    from drillctl.cli.console import out
    from drillctl.history.chart import ASCII, UNICODE, chart
    from drillctl.history.trend import in_words

    console = out()
    # A Latin-1 terminal would show question marks.
    marks = UNICODE if (sys.stdout.encoding or "").lower().startswith("utf") else ASCII
    console.print(
        Text.assemble((found.metric.name, "bold"), f" of {found.playbook} on {found.inventory}: {found.metric.about}"),
        soft_wrap=True,
    )
    for line in chart(found, console.width, marks):
        text = Text(line)
        text.highlight_words([marks.missed], style="bold red")
        text.highlight_words([marks.counted], style="green")
        console.print(text, no_wrap=True, overflow="crop")
    for line in in_words(found):
        console.print(line, markup=False, soft_wrap=True)


def write_page(found: Trend, file: Path) -> None:
    """Write a trend as a page. Raises UsageError when the file cannot be written."""
    from datetime import UTC, datetime

    from drillctl.errors import UsageError
    from drillctl.history.page import render

    try:
        file.write_text(render(found, datetime.now(UTC)), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}", hint="name another file with --html") from None


def print_json(document: object) -> None:
    """Print one JSON document."""
    import json

    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")
