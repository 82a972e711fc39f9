"""A trend as a chart of characters (pure).

No library for such charts is used: the one that would serve takes 0.14 s to import, a third of what the whole command
may take.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drillctl.history.trend import Trend

HEIGHT = 12
_ABOVE = 3.0  # an objective further above the highest value than this would leave nothing of the values to see


@dataclass(frozen=True)
class Marks:
    """The characters that a chart is drawn with."""

    counted: str
    missed: str
    none: str
    objective: str
    median: str
    side: str
    corner: str
    bottom: str


UNICODE = Marks("●", "✗", "○", "╌", "·", "┤", "└", "─")
ASCII = Marks("*", "x", "o", "=", ".", "|", "+", "-")


def scale_of(trend: Trend) -> tuple[float, float | None]:
    """Return the top of the vertical axis, which begins at 0, and the objective if it is to be drawn."""
    highest = max((point.value for point in trend.points if point.value is not None), default=0.0)
    limit = trend.limit
    if limit is not None and (limit > _ABOVE * highest and highest > 0):
        limit = None
    return max(highest, limit or 0.0) * 1.1 or 1.0, limit


def chart(trend: Trend, width: int, marks: Marks = UNICODE) -> list[str]:
    """Return the lines of a chart, none wider than `width` (at least 40) characters.

    Each run is a mark, the oldest on the left, evenly spaced; runs without a figure stand in a line of their own.
    """
    top, limit = scale_of(trend)
    labels = [trend.metric.said(top * row / (HEIGHT - 1), top) for row in range(HEIGHT)]
    margin = max(len(label) for label in (*labels, "no figure")) + 1
    columns = max(width, 40) - margin - 2
    rows = [[" "] * columns for _ in range(HEIGHT)]

    def row_of(value: float) -> int:
        return min(HEIGHT - 1, max(0, round(value / top * (HEIGHT - 1))))

    if trend.figures is not None:
        rows[row_of(trend.figures.p50)] = [marks.median if place % 2 else " " for place in range(columns)]
    if limit is not None:
        rows[row_of(limit)] = [marks.objective] * columns
    none = [" "] * columns
    count = len(trend.points)
    for number, point in enumerate(trend.points):
        column = columns // 2 if count == 1 else round(number * (columns - 1) / (count - 1))
        if point.value is None:
            none[column] = marks.none
        elif (row := rows[row_of(point.value)])[column] != marks.missed:
            # A failed run is never hidden behind one that passed.
            row[column] = marks.counted if point.mark == "counted" else marks.missed
    lines = []
    for height in reversed(range(HEIGHT)):
        label = labels[height] if height % 3 == 0 or height == HEIGHT - 1 else ""
        lines.append(f"{label:>{margin}} {marks.side}{''.join(rows[height])}".rstrip())
    lines.append(f"{'':>{margin}} {marks.corner}{marks.bottom * columns}")
    if any(point.value is None for point in trend.points):
        lines.append(f"{'no figure':>{margin}}  {''.join(none)}".rstrip())
    lines += [_dates(trend, margin + 2, columns), *_legend(trend, limit, marks)]
    return lines


def _dates(trend: Trend, indent: int, columns: int) -> str:
    pattern = "%Y-%m-%d %H:%M" if columns >= 40 else "%Y-%m-%d"
    first, last = (trend.points[place].when.strftime(pattern) for place in (0, -1))
    if len(trend.points) == 1:
        return " " * indent + first.center(columns).rstrip()
    return " " * indent + first + last.rjust(columns - len(first))


def _legend(trend: Trend, limit: float | None, marks: Marks) -> list[str]:
    found = {point.mark for point in trend.points}
    words = [(marks.counted, "in the figures")] if "counted" in found else []
    words += [(marks.missed, "did not pass, not in the figures")] if "missed" in found else []
    words += [(marks.none, "no figure")] if "none" in found else []
    lines = ["   ".join(f"{mark} {word}" for mark, word in words)]
    drawn = [f"{marks.median}{marks.median} p50"] if trend.figures is not None else []
    drawn += [f"{marks.objective}{marks.objective} objective"] if limit is not None else []
    return [*lines, "   ".join(drawn)] if drawn else lines
