"""Progress: a line per step, and nobody to read it is no reason to stop."""

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
