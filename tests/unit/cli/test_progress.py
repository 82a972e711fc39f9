"""Progress: a line per step, one line in a pipe whatever its length; nobody to read it is no reason to stop."""

from __future__ import annotations

import errno
import io

from rich.console import Console

from drillctl.cli.progress import Progress
from drillctl.run import StepRecord

RECORD = StepRecord("heal", "a-1", "restore", "ok", 1.0, 2.0, "running again")


class Closed(io.StringIO):
    """What standard error is once its terminal was closed."""

    def write(self, _: str) -> int:
        raise OSError(errno.EIO, "Input/output error")


def test_a_step_has_its_line() -> None:
    seen = io.StringIO()
    progress = Progress(Console(file=seen, width=80))
    progress.begun("heal", "a-1")
    progress.ended(RECORD)
    progress.note("the lease is lost")
    progress.close()
    lines = [line.split(" s ", 1)[1].split() for line in seen.getvalue().splitlines()]
    assert lines == [["a-1", "heal", "ok", "running", "again"], ["the", "lease", "is", "lost"]]


def test_a_closed_terminal_does_not_reach_the_drill() -> None:
    progress = Progress(Console(file=Closed(), width=80))
    progress.begun("heal", "a-1")
    progress.ended(RECORD)
    progress.note("still here")
    progress.close()


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
