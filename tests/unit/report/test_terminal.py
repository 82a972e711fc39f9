"""What a person reads at the end, compared with files letter by letter: tests/cases/report/NAME-WIDTH.txt.

Where the wording is meant to change, `UPDATE_CASES=1 pytest tests/unit/report` writes the files anew; read their diff.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from drillctl.compare.equality import Exact, compare
from drillctl.drill import Ending
from drillctl.errors import Aborted, GatewayError, NotStarted
from drillctl.plan import make_plan
from drillctl.report.terminal import render, render_plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from told import Told

    from drillctl.inventory import Inventory
    from drillctl.playbook import Playbook
    from drillctl.report.model import Report

CASES = Path(__file__).parents[2] / "cases" / "report"
P, S = "P" * 30, "S" * 33


def passed(tell: Callable[..., Told]) -> Report:
    told = tell()
    told.run.findings.started.append("b-1")
    told.run.findings.not_proven.append("isolation: one machine-id. Waived: both zones are processes of one machine")
    return told.report()


def failed(tell: Callable[..., Told]) -> Report:
    told = tell(P + "|" + "x" * 60 + "W" + S + "/SSSxPPPPPPP")
    other = {"blue.png": b'{"label": "blue"}', "red.jpg": b'{"label": "rose [bold]"}'}
    told.run.findings.standby_serving = compare(told.run.findings.baseline, other, Exact())
    return told.report()


def restore_incomplete(tell: Callable[..., Told]) -> Report:
    told = tell(P + "|" + "x" * 5 + S + "/SSSSS")
    told.run.findings.config_identical = False
    told.run.findings.left += [
        "heal: a-1: not ready after 120.0 s: the server ended; its log: OSError: [Errno 28] No space left on device",
        "failback: the gateway stays on the standby, because zone-a is not fit to serve",
    ]
    error = GatewayError("zone-b did not serve 2 s without a bad answer", hint="run `drillctl recover`")
    return told.report(Ending(error=error))


def not_started(tell: Callable[..., Told]) -> Report:
    told = tell("")
    told.run.changed = False
    told.run.findings.config_identical = None
    told.run.findings.surveys.clear()
    told.run.findings.baseline = {}
    told.run.findings.standby_before = None
    message = "b-1: /srv/model/model.safetensors is 0000 on disk, pinned is 5f70"
    error = NotStarted(message, hint="put the pinned model on that host and restart its server")
    return told.report(Ending(refused=True, error=error))


def aborted(tell: Callable[..., Told]) -> Report:
    return tell(P + "|xx/xxPPPPPPPP").report(Ending(aborted=True, error=Aborted("stopped by SIGINT")))


STORIES = {
    "passed": passed,
    "failed": failed,
    "restore-incomplete": restore_incomplete,
    "not-started": not_started,
    "aborted": aborted,
}


def printed(width: int, draw: Callable[[Console], None], *, color: bool = False) -> str:
    stream = io.StringIO()
    console = Console(
        file=stream, width=width, no_color=not color, force_terminal=color, color_system="standard" if color else None,
        highlight=False, emoji=False,
    )  # fmt: skip
    draw(console)
    return stream.getvalue()


def compare_with(file: str, text: str) -> None:
    path = CASES / file
    if os.environ.get("UPDATE_CASES"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", list(STORIES))
def test_a_report_reads_as_agreed(tell: Callable[..., Told], name: str, width: int) -> None:
    report = STORIES[name](tell)
    assert report.verdict == name
    compare_with(f"{name}-{width}.txt", printed(width, lambda console: render(report, console)))


@pytest.mark.parametrize("width", [80, 120])
def test_a_plan_reads_as_agreed(estate: Inventory, playbook: Playbook, width: int) -> None:
    plan = make_plan(estate, playbook)
    compare_with(f"plan-{width}.txt", printed(width, lambda console: render_plan(plan, estate, playbook, console)))


@pytest.mark.parametrize("name", list(STORIES))
def test_without_colour_nothing_is_missing(tell: Callable[..., Told], name: str) -> None:
    report = STORIES[name](tell)
    plain = printed(100, lambda console: render(report, console))
    coloured = printed(100, lambda console: render(report, console), color=True)
    assert "\x1b" not in plain
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


@pytest.mark.parametrize("name", list(STORIES))
def test_the_verdict_stands_in_words_with_its_exit_code(tell: Callable[..., Told], name: str) -> None:
    report = STORIES[name](tell)
    text = printed(120, lambda console: render(report, console))
    assert f"{name.upper()} {report.meaning} (exit code {report.exit_code}" in text


def test_words_from_outside_are_no_markup(tell: Callable[..., Told]) -> None:
    told = tell("")
    told.run.changed = False
    error = NotStarted("[/red] said [bold]zone-b[/bold] and [link=x]", hint="[red]")
    text = printed(120, lambda c: render(told.report(Ending(refused=True, error=error)), c), color=True)
    assert "[/red] said [bold]zone-b[/bold] and [link=x]" in text
    assert "next:  [red]" in text
