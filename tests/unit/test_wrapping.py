"""What is said on a terminal is wrapped between words; elsewhere, and within a word, never."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from drillctl.wrapping import say

PATH = "/home/drill/.local/share/drillctl/runs/20260101T000000Z-zone-failover-0000/report.html"


def said(text: str, *, terminal: bool) -> list[str]:
    stream = io.StringIO()
    say(Console(file=stream, width=40, force_terminal=terminal, no_color=True, highlight=False), text)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_on_a_terminal_lines_end_between_words() -> None:
    assert said("next:  the built-in ones: zone-failover, planned-switchover", terminal=True) == [
        "next:  the built-in ones: zone-failover,",
        "planned-switchover",
    ]


def test_elsewhere_a_line_stays_one() -> None:
    text = "next:  the built-in ones: zone-failover, planned-switchover"
    assert said(text, terminal=False) == [text]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_path_stays_in_one_piece(terminal: bool) -> None:
    assert PATH in said(f"report it with the traceback in {PATH}", terminal=terminal)[-1]
