"""Steps in a pipe: one line each, whatever their length, with nothing that only a terminal understands."""

from __future__ import annotations

import io

from rich.console import Console

from drillctl.cli.progress import Progress
from drillctl.run import StepRecord

LONG = "sha256 " + " ".join("0123456789abcdef" * 4 for _ in range(6)) + "\nand a second line"


def printed(*, terminal: bool) -> list[str]:
    text = io.StringIO()
    progress = Progress(Console(file=text, width=120, force_terminal=terminal, highlight=False, no_color=True))
    progress.ended(StepRecord("steady state", "zone-a-1", "steps", "ok", 0.0, 1.0, LONG))
    progress.ended(StepRecord("fault", "zone-a-1", "steps", "failed", 1.0, 1.0, "[red]not markup[/]"))
    progress.close()
    return text.getvalue().splitlines()


def test_in_a_pipe_a_step_is_one_line() -> None:
    first, second = printed(terminal=False)
    assert first.split(" s ", 1)[1].split() == ["zone-a-1", "steady", "state", "ok", *LONG.split()]
    assert second.endswith("FAILED  [red]not markup[/]")
    assert "\x1b" not in first + second


def test_on_a_terminal_a_long_detail_is_wrapped_under_itself() -> None:
    lines = printed(terminal=True)
    assert len(lines) > 3
    assert all(len(line) <= 120 + 20 for line in lines)
