"""Text for people: wrapped between words on a terminal, each of its lines as one line in a pipe or the log of a CI."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console


def say(console: Console, text: str, *, markup: bool = True) -> None:
    """Print a text; a word that is longer than the terminal is wide, such as a path, stays in one piece."""
    shown = Text.from_markup(text) if markup else Text(text)
    for line in _wrapped(shown, console.width) if console.is_terminal else [shown]:
        console.print(line, soft_wrap=True)


def _wrapped(text: Text, width: int) -> Iterator[Text]:
    """Yield a text's lines, cut between words where they are wider than `width`; rich would cut long words as well."""
    for line in text.split("\n", allow_blank=True):
        if not line.plain.strip():
            yield line
        for fitting in re.finditer(rf"(.{{1,{width}}}|\S+)(?:\s+|$)", line.plain):
            yield line[fitting.start(1) : fitting.end(1)]
