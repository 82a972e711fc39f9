"""What a picture is drawn on: SVG elements of classes and round numbers, with every text escaped (pure)."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import svg

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDE, NARROW = 1040, 350
"""Widths that are drawn, in CSS pixels."""

LINE = 15
"""Pixels from one line of text to the next."""

LETTER = 6.3
"""Pixels of an average letter: how much room a text will take is only estimated."""


class Sheet:
    """What is drawn so far, and where the next thing goes: `y` is the top of what is still free.

    Lengths are CSS pixels; `left` and `right` bound what is drawn against the time axis. Classes are the page's CSS's.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.left = 46 if width > NARROW else 40
        self.right = width - 8
        self.y = 2.0
        self.elements: list[svg.Element] = []

    @property
    def wide(self) -> bool:
        """Whether there is room for more words."""
        return self.width > NARROW

    def text(self, x: float, y: float, text: str, *classes: str, anchor: str = "start") -> None:
        """Write a line of text that starts, ends or has its middle at x."""
        # The library writes text as it is given.
        self.elements.append(
            svg.Text(x=_r(x), y=_r(y), text=html.escape(text, quote=False), class_=[*classes, f"a-{anchor}"])
        )

    def rect(self, x: float, y: float, width: float, height: float, *classes: str) -> None:
        """Draw a rectangle; a negative width counts as none."""
        self.elements.append(
            svg.Rect(x=_r(x), y=_r(y), width=_r(max(0.0, width)), height=_r(height), class_=[*classes])
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, *classes: str, first: bool = False) -> None:
        """Draw a line; with `first`, behind everything else."""
        line = svg.Line(x1=_r(x1), y1=_r(y1), x2=_r(x2), y2=_r(y2), class_=[*classes])
        self.elements.insert(0 if first else len(self.elements), line)

    def path(self, parts: Iterable[str], *classes: str) -> None:
        """Draw one path made of pieces of path data; none at all without pieces."""
        d = "".join(parts)
        if d:
            self.elements.append(_RawPath(d, classes))

    def title(self, text: str) -> None:
        """Write what the panel below shows, and move down."""
        self.text(self.left, self.y + 11, text, "title")
        self.y += LINE + 3

    def done(self, words: str) -> str:
        """Return the SVG; `words` say what it shows to those who cannot see it."""
        root = svg.SVG(
            viewBox=svg.ViewBoxSpec(0, 0, self.width, int(self.y) + 2),
            class_=["picture", "wide" if self.wide else "narrow"],
            extra={"role": "img", "aria-label": html.escape(words)},
            elements=self.elements,
        )
        return root.as_str()


class _RawPath(svg.Path):
    """A path whose commands are text already: thousands of them, without an object for each."""

    def __init__(self, d: str, classes: Sequence[str]) -> None:
        super().__init__(class_=[*classes])
        self._d = d

    def as_str(self) -> str:
        return f'<path class="{" ".join(self.class_ or ())}" d="{self._d}"/>'


def _r(value: float) -> float:
    return round(value, 1)


def short(value: float) -> str:
    """Return a number as a path holds it: to a tenth of a pixel, and no longer than it must be."""
    return f"{value:.1f}".removesuffix(".0")
