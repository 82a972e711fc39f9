"""Where results and progress go: stdout is the result, stderr everything else. Colour only on a terminal."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

    console = err()
    for number, line in enumerate(str(error).splitlines()):
        prefix = "[bold red]error:[/] " if number == 0 or isinstance(error, FileError) else "       "
        console.print(prefix + _escaped(line), soft_wrap=True)
    if error.state:
        console.print(f"state: {_escaped(error.state)}", soft_wrap=True)
    if error.hint:
        console.print(f"next:  {_escaped(error.hint)}", soft_wrap=True)


def show_bug(error: BaseException) -> None:
    """Say that drillctl itself is wrong, without a traceback."""
    err().print(
        f"[bold red]bug:[/] {type(error).__name__}: {_escaped(str(error))}\n"
        "state: if a drill was running, what it had changed was put back as far as it went; `drillctl status` tells\n"
        "next:  run it again with --debug and report what it prints",
        soft_wrap=True,
    )


def plain(text: str) -> str:
    """Return text with what a terminal would act on, or could not show, by its number."""
    return "".join(c if c.isprintable() or c == "\t" else ascii(c)[1:-1] for c in text)


def _escaped(text: str) -> str:
    """Return text that says itself: no markup, and nothing that a terminal would act on."""
    from rich.markup import escape

    return escape(plain(text))
