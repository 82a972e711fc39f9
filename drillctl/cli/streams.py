"""Standard output and error of this process: nobody being there to read them never reaches a drill.

A pipe whose reader is gone, a terminal that was closed, a full disk: what stderr does not take is left unsaid. The
first failure of stdout is raised as OutputLost, because there is the result that was asked for, unless the command has
more to do than to print (`carry_on`). It is done below Python's buffers, so that it holds for whatever prints: rich
and Typer would otherwise end the process by exit code 1 when a pipe is broken, in the middle of whatever it does.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

from drillctl.errors import OutputLost

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Stream(io.FileIO):
    """A file descriptor for writing; `needed`: the first write that fails raises OutputLost. The others drop it."""

    def __init__(self, descriptor: int, *, needed: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.needed = needed
        self.lost: str | None = None
        """Why something could not be written; None: everything was."""

    def write(self, data: Buffer, /) -> int:
        """Write, or drop what cannot be written."""
        try:
            return super().write(data)
        except OSError as error:
            known, self.lost = self.lost is not None, error.strerror or type(error).__name__
            # Whoever closed a terminal or ended a pipe knows that nothing more comes out of it.
            if self.needed and not known:
                raise OutputLost(self.lost, unread=error.errno in {errno.EPIPE, errno.EIO}) from None
            return memoryview(data).nbytes


_stdout: Stream | None = None


def replace() -> None:
    """Put such streams in place of sys.stdout and sys.stderr."""
    global _stdout
    # A descriptor that was closed before must not become the number of a journal or a connection.
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(spare)
    _stdout = Stream(1, needed=True)
    sys.stdout = _text(_stdout, sys.stdout)
    sys.stderr = _text(Stream(2, needed=False), sys.stderr)


def carry_on() -> None:
    """From here on stdout drops, too, what it does not take: what the command does matters more than what it says."""
    if _stdout is not None:
        _stdout.needed = False


def lost() -> str | None:
    """Return why something that was written to stdout is lost; None when nothing is."""
    return None if _stdout is None else _stdout.lost


def _text(raw: Stream, like: TextIO | None) -> TextIO:
    """Return text over a stream, encoded and buffered as one that was there before (None: it was closed)."""
    encoding, errors, lines = "utf-8", "backslashreplace", True
    if isinstance(like, io.TextIOWrapper):
        encoding, errors, lines = like.encoding, like.errors or errors, like.line_buffering
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors=errors, line_buffering=lines)
