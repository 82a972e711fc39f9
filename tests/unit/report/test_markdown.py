"""The Markdown report, rendered by a real Markdown reader: its tables are tables, and names are only ever text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt

from drillctl.drill import Ending
from drillctl.errors import NotStarted
from drillctl.report.markdown import render

if TYPE_CHECKING:
    from collections.abc import Callable

    from told import Told

    from drillctl.report.stored import StoredRun

EVIL = "<b>x</b> | `y` *z* [l](http://e.example) ![i](http://e.example/i) @team #1\n# title"


def html(text: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(text)


def test_the_verdict_is_first_and_every_objective_is_a_row(recorded: StoredRun) -> None:
    text = render(recorded.report)
    symbol = "✓" if recorded.report.exit_code == 0 else "✗"
    assert text.startswith(f"## {symbol} {recorded.report.verdict.upper()}: zone-failover on ")
    shown = html(text)
    for objective in recorded.report.objectives:
        assert f"<td>{objective.name}</td>" in shown
    assert shown.count("<table>") == 2
    assert shown.count("<tr>") == len(recorded.report.objectives) + len(recorded.report.steps) + 2
    assert '<code class="language-diff">--- ' in shown


def test_names_are_text(tell: Callable[..., Told]) -> None:
    told = tell()
    told.step(EVIL, EVIL, "steps", 3.0, EVIL)
    told.run.findings.started.append(EVIL)
    report = told.report().model_copy(update={"playbook": EVIL, "inventory": EVIL, "hint": EVIL, "reason": EVIL})
    shown = html(render(report))
    for tag in ("<b>", "<a ", "<img", "<em>", "<h1"):
        assert tag not in shown
    rows = re.findall(r"<tr>(.*?)</tr>", shown, re.DOTALL)
    assert {row.count("<td>") for row in rows} == {0, 4, 6}
    assert "&lt;b&gt;x&lt;/b&gt;" in shown


def test_a_diff_cannot_end_its_own_block(recorded: StoredRun) -> None:
    evil = recorded.report.model_copy(update={"config_diffs": {"gateway": "+ ```\n# title\n````\n<b>x</b>"}})
    shown = html(render(evil))
    assert "<b>" not in shown
    assert "<h1>" not in shown


def test_a_refused_drill_says_why(tell: Callable[..., Told]) -> None:
    told = tell("")
    told.run.changed = False
    text = render(told.report(Ending(refused=True, error=NotStarted("not isolated", hint="place them apart"))))
    assert "NOT-STARTED" in text
    assert "**Why:** not isolated Next: place them apart" in text
