"""Where results and progress go: stdout is the result, stderr everything else. Colour only on a terminal."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from drillctl.errors import DrillctlError

_plain = False


def no_color() -> None:
    """Print without colour from now on, whatever the terminal can do."""
    global _plain
    _plain = True


@cache
def out() -> Console:
    """Return the console of the result; off a terminal it is 120 columns wide, so that CI logs keep tables whole."""
    return _console(stderr=False)


@cache
def err() -> Console:
    """Return the console of progress and prompts."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 120
    return Console(stderr=stderr, no_color=_plain or None, highlight=False, width=width, soft_wrap=False, emoji=False)


def show_error(error: DrillctlError) -> None:
    """Say an error: what and where, the state now, what to do next."""
    from drillctl.errors import FileError
    from drillctl.wrapping import say

    console = err()
    for number, line in enumerate(str(error).splitlines()):
        prefix = "[bold red]error:[/] " if number == 0 or isinstance(error, FileError) else "       "
        say(console, prefix + _escaped(line))
    if error.state:
        say(console, f"state: {_escaped(error.state)}")
    if error.hint:
        say(console, f"next:  {_escaped(error.hint)}")


def show_bug(error: BaseException, traceback: Path | None) -> None:
    """Say that drillctl itself is wrong; `traceback` is the file that has its traceback, None if there is none."""
    from drillctl.wrapping import say

    kept = f"the traceback in {_escaped(str(traceback))}" if traceback else "what --debug prints"
    say(
        err(),
        f"[bold red]bug:[/] {type(error).__name__}: {_escaped(str(error))}\n"
        "state: if a drill was running, what it had changed was put back as far as it went; `drillctl status` tells\n"
        f"next:  report it with {kept}",
    )


def plain(text: str) -> str:
    """Return text with what a terminal would act on, or could not show, by its number."""
    return "".join(c if c.isprintable() or c == "\t" else ascii(c)[1:-1] for c in text)


def _escaped(text: str) -> str:
    """Return text that says itself: no markup, and nothing that a terminal would act on."""
    from rich.markup import escape

    return escape(plain(text))
