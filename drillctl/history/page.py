"""A trend as a page of its own: one HTML file that needs nothing else (pure)."""

from __future__ import annotations

from html import escape
from importlib import resources
from typing import TYPE_CHECKING

import svg
from jinja2 import Environment, StrictUndefined

from drillctl.history.chart import scale_of
from drillctl.history.trend import in_words

if TYPE_CHECKING:
    from datetime import datetime

    from drillctl.history.trend import Point, Trend

_WIDTH, _HEIGHT = 860, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 120, 20, 60
_TICKS = 5
_LINE = 15  # the height of a line of text
_SHOWN = 200  # rows of the table


def render(trend: Trend, at: datetime) -> str:
    """Return the page, as of a moment."""
    source = resources.files("drillctl.history").joinpath("trend.html").read_text(encoding="utf-8")
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(source)
    return template.render(
        trend=trend,
        picture=_picture(trend).as_str(),
        words=in_words(trend),
        at=f"{at:%Y-%m-%d %H:%M} UTC",
        runs=list(reversed(trend.points))[:_SHOWN],
        more=max(0, len(trend.points) - _SHOWN),
        said=trend.metric.said,
    )


def _picture(trend: Trend) -> svg.SVG:
    """Return the chart; the page's style colours its classes, for a light and a dark screen and for paper."""
    top, limit = scale_of(trend)
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def y_of(value: float) -> float:
        return round(_TOP + height * (1 - value / top), 1)

    parts: list[svg.Element] = []
    for tick in range(_TICKS + 1):
        value = top * tick / _TICKS
        parts += [
            svg.Line(x1=_LEFT, x2=_LEFT + width, y1=y_of(value), y2=y_of(value), class_=["grid"]),
            _text(_LEFT - 8, y_of(value) + 4, trend.metric.said(value, top), "end"),
        ]
    goal = None if limit is None else y_of(limit)
    if limit is not None and goal is not None:
        parts += _level(goal, goal, "objective", f"objective {trend.metric.said(limit)}")
    if trend.figures is not None:
        middle = y_of(trend.figures.p50)
        # Two labels at one height would be none.
        at = middle if goal is None or abs(middle - goal) > _LINE else goal + _LINE * (1 if middle >= goal else -1)
        parts += _level(middle, at, "median", f"p50 {trend.metric.said(trend.figures.p50)}")
    below = _TOP + height + 18
    if any(point.value is None for point in trend.points):
        parts.append(_text(_LEFT - 8, below + 4, "no figure", "end"))
    count = len(trend.points)
    for number, point in enumerate(trend.points):
        x = round(_LEFT + width * (0.5 if count == 1 else number / (count - 1)), 1)
        parts.append(_mark(trend, point, x, below if point.value is None else y_of(point.value)))
    for place, x, anchor in ((0, _LEFT, "start"), (-1, _LEFT + width, "end")):
        parts.append(_text(x, _HEIGHT - 12, f"{trend.points[place].when:%Y-%m-%d}", anchor))
    title = svg.Title(text=_escaped(f"{trend.metric.name} of {count} runs"))
    return svg.SVG(viewBox=svg.ViewBoxSpec(0, 0, _WIDTH, _HEIGHT), elements=[title, *parts])


def _mark(trend: Trend, point: Point, x: float, y: float) -> svg.Element:
    value = "no figure" if point.value is None else trend.metric.said(point.value)
    about = svg.Title(text=_escaped(f"{point.run_id}: {point.verdict}, {value}"))
    if point.mark == "missed":
        cross: list[svg.PathData] = [svg.M(x - 5, y - 5), svg.l(10, 10), svg.M(x - 5, y + 5), svg.l(10, -10)]
        return svg.Path(d=cross, class_=["missed"], elements=[about])
    return svg.Circle(cx=x, cy=y, r=4, class_=[point.mark], elements=[about])


def _level(y: float, label_y: float, kind: str, said: str) -> list[svg.Element]:
    right = _WIDTH - _RIGHT
    return [
        svg.Line(x1=_LEFT, x2=right, y1=y, y2=y, class_=[kind]),
        svg.Text(x=right + 8, y=label_y + 4, class_=[f"{kind}-label"], text=_escaped(said)),
    ]


def _escaped(said: str) -> str:
    """Return text for the picture; svg.py writes what it is given as it stands."""
    return escape(said, quote=False)


def _text(x: float, y: float, said: str, anchor: str) -> svg.Text:
    return svg.Text(x=x, y=y, text=_escaped(said), text_anchor="end" if anchor == "end" else "start", class_=["axis"])
