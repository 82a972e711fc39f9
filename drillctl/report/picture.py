"""The timeline of a run as pictures: the whole run, and the outage close up (pure).

Plain SVG. Each is drawn twice, wide and narrow, because text that shrinks with a picture cannot be read on a telephone.
Colours are classes, never values, so that the page decides them for light, dark and paper; shapes differ as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drillctl.report.bins import bins_of
from drillctl.report.scale import Linear, around, duration
from drillctl.report.sheet import LETTER, LINE, NARROW, WIDE, Sheet, short
from drillctl.traffic.outage import UNNAMED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drillctl.report.bins import Bin
    from drillctl.report.model import Report
    from drillctl.report.scale import Logarithmic
    from drillctl.traffic.probe import Probe

MOST_MARKS = 1500
"""Requests that are drawn one by one; more are put together in bins."""

SMALLEST = 3.0
"""Pixels that a failed request is drawn high at least, however many good ones are in its bin."""


@dataclass(frozen=True)
class Drawing:
    """A picture in both widths, as SVG text, and what it shows in words for those who cannot see it."""

    wide: str
    narrow: str
    words: str


def whole_run(report: Report, probes: Sequence[Probe]) -> Drawing | None:
    """Draw all requests of a run; None without any."""
    if not probes:
        return None
    clock = report.timeline.clock or probes[0].scheduled
    rate = report.traffic.rate or 1.0
    since, until = probes[0].scheduled - 0.5 / rate, probes[-1].scheduled + 0.5 / rate
    words = _in_words(report)
    drawn: list[str] = []
    for width in (WIDE, NARROW):
        sheet = Sheet(width)
        x = Linear(since - clock, until - clock, sheet.left, sheet.right)
        # A whole number of requests in each, so that the columns of a steady stream are equally high.
        each = max(8, math.ceil(len(probes) / ((sheet.right - sheet.left) / 2)))
        number = max(1, math.ceil((until - since) * rate / each - 1e-6))
        bins = bins_of(probes, since, since + number * each / rate, number)
        _outage_label(sheet, report, x)
        top = sheet.y
        _phases(sheet, report, x)
        _requests(sheet, report, bins, clock, x)
        _latency(sheet, bins, clock, x, report.context.scope.slow_seconds)
        _shade(sheet, report, x, top)
        _time_axis(sheet, x, report)
        drawn.append(sheet.done(words))
    return Drawing(drawn[0], drawn[1], words)


def close_up(report: Report, probes: Sequence[Probe]) -> Drawing | None:
    """Draw the requests around the fault, or around a switch without one, a mark each; None without either."""
    line = report.timeline
    clock, fault = line.clock, _anchor(report)
    if clock is None or fault is None or not probes:
        return None
    end = max(t for t in (fault, line.first_good, line.active, line.detected) if t is not None)
    if line.first_failed is not None and line.first_good is None:
        end = max(end, line.restore_began or probes[-1].scheduled - clock)
    pad = max(0.3, (end - fault) * 0.35)
    since, until = fault - pad, end + pad
    near = [probe for probe in probes if since <= probe.scheduled - clock <= until]
    if not near:
        return None
    words = f"The requests around the fault, from {since:.1f} s to {until:.1f} s. {_in_words(report)}"
    drawn: list[str] = []
    for width in (WIDE, NARROW):
        sheet = Sheet(width)
        x = Linear(since, until, sheet.left, sheet.right)
        labelled = _moments(sheet, report, x)
        top = sheet.y
        if len(near) <= MOST_MARKS:
            sheet.title("each request: when it was due, and how long its answer took" if sheet.wide else "each request")
            _marks(sheet, report, near, clock, x)
        else:
            bins = bins_of(near, since + clock, until + clock, int((sheet.right - sheet.left) / 3))
            _requests(sheet, report, bins, clock, x)
            _latency(sheet, bins, clock, x, 0)
        bottom = sheet.y
        for at, below in labelled:
            sheet.line(x(at), below, x(at), bottom, "moment", first=True)
        _shade(sheet, report, x, top, bracket=True)
        _time_axis(sheet, x, report)
        drawn.append(sheet.done(words))
    return Drawing(drawn[0], drawn[1], words)


def _anchor(report: Report) -> float | None:
    """Return when the drill began to act on the service: the fault, or the switch where there was none."""
    line = report.timeline
    return line.fault_began if line.fault_began is not None else line.switch_began


def _in_words(report: Report) -> str:
    served = ", ".join(f"{number} by {zone}" for zone, number in report.traffic.by_zone.items()) or "none"
    return f"{report.traffic.sent} requests: answered {served}; {report.traffic.failed} failed. {_outage(report)}."


def _outage(report: Report) -> str:
    recovery = report.recovery
    if recovery.outage_seconds and recovery.uncertainty_seconds is not None:
        return f"Outage {recovery.outage_seconds:.2f} s ± {recovery.uncertainty_seconds:.2f} s"
    return f"Outage: {recovery.said}"


def class_of(report: Report, zone: str) -> str:
    """Return the CSS class of a zone: its role, or `other` for an unnamed or unknown one."""
    roles = {machine.zone: machine.role for machine in report.context.machines if machine.zone}
    # A report of a drillctl that did not keep the roles: the primary served first.
    order = list(report.traffic.by_zone)
    fallback = {0: "primary", 1: "standby"}.get(order.index(zone), "other") if zone in order else "other"
    return roles.get(zone, "other" if roles or zone == UNNAMED else fallback)


def _outage_label(sheet: Sheet, report: Report, x: Linear) -> None:
    line = report.timeline
    if line.first_failed is None:
        return
    middle = x(line.first_failed)
    text = _outage(report)
    room = len(text) * LETTER
    anchor = "start" if middle + room < sheet.right else "end"
    sheet.text(middle, sheet.y + 11, text, "outage-label", anchor=anchor)
    sheet.y += LINE


def _shade(sheet: Sheet, report: Report, x: Linear, top: float, *, bracket: bool = False) -> None:
    """Shade the outage from top to here; with `bracket`, its length and error bar are drawn below it."""
    line, recovery = report.timeline, report.recovery
    if line.first_failed is None:
        return
    until = line.first_good if line.first_good is not None else line.restore_began
    begin, end = x(line.first_failed), x(until) if until is not None else sheet.right
    sheet.rect(begin, top, max(2.0, end - begin), sheet.y - top, "outage")
    error = recovery.uncertainty_seconds
    if not bracket or error is None or until is None:
        return
    y = sheet.y + 12
    sheet.line(begin, y, end, y, "bracket")
    sheet.line(begin, y - 4, begin, y + 4, "bracket")
    low, high = x(until - error), x(until + error)
    sheet.rect(low, y - 4, high - low, 8, "error-bar")
    for edge in (low, high):
        sheet.line(edge, y - 6, edge, y + 6, "error")
    sheet.line(low, y, high, y, "error")
    text = f"{_outage(report)} (error bar)"
    room = len(text) * LETTER
    if high + 8 + room < sheet.right:
        sheet.text(high + 8, y + 4, text, "outage-label")
    elif begin - 8 - room > sheet.left:
        sheet.text(begin - 8, y + 4, text, "outage-label", anchor="end")
    else:
        sheet.y += LINE
        sheet.text(sheet.left, y + LINE + 5, text, "outage-label")
    sheet.y += 24


def phases(report: Report) -> list[tuple[str, float, float]]:
    """Return what was done while traffic ran, as name, begin and end in seconds since the run began."""
    found: list[tuple[str, float, float]] = []
    fault = report.timeline.fault_began
    for step in report.steps:
        if step.name == "traffic":
            found.append(("baseline", step.started, fault if fault is not None else step.started + step.seconds))
        elif step.section != "before":
            end = step.started + step.seconds
            if found and found[-1][0] == step.name:
                found[-1] = (step.name, min(found[-1][1], step.started), max(found[-1][2], end))
            else:
                found.append((step.name, step.started, end))
    return found


def _phases(sheet: Sheet, report: Report, x: Linear) -> None:
    sheet.line(sheet.left, sheet.y + 19, sheet.right, sheet.y + 19, "axis")
    for number, (name, began, ended) in enumerate(phases(report)):
        if ended < x.low or began > x.high:
            continue
        start, end = x(began), x(ended)
        sheet.rect(start, sheet.y + 2, max(1.0, end - start - 1), 16, "phase", f"phase-{number % 2}")
        if len(name) * LETTER + 6 < end - start:
            sheet.text((start + end) / 2, sheet.y + 14, name, "phase-name", anchor="middle")
    sheet.y += 26


def _requests(sheet: Sheet, report: Report, bins: Sequence[Bin], clock: float, x: Linear) -> None:
    """Columns of requests by who answered; failed ones on top, at least SMALLEST high, and marked below."""
    each = bins[0].ended - bins[0].began
    sheet.title(f"requests due in each {duration(each)}, by who answered")
    height = 110.0
    most = max(1, *(one.total for one in bins))
    y = Linear(0, most, sheet.y + height, sheet.y + SMALLEST)
    for tick in y.ticks(3):
        if tick == int(tick) and tick > 0:
            sheet.line(sheet.left, y(tick), sheet.right, y(tick), "grid")
            sheet.text(sheet.left - 5, y(tick) + 4, f"{tick:g}", "tick", anchor="end")
    zones = sorted({zone for one in bins for zone in one.ok}, key=lambda zone: (class_of(report, zone), zone))
    columns: dict[str, list[str]] = {}
    marks: list[str] = []
    for one in bins:
        left, right = x(one.began - clock), x(one.ended - clock)
        below = 0
        for zone in zones:
            if one.ok[zone]:
                _column(columns.setdefault(class_of(report, zone), []), left, right, y(below), y(below + one.ok[zone]))
                below += one.ok[zone]
        if one.failed:
            top = min(y(below + one.failed), y(below) - SMALLEST)
            _column(columns.setdefault("failed", []), left, max(right, left + 2), y(below), top)
            middle, foot = (left + right) / 2, sheet.y + height + 3
            marks.append(f"M{short(middle)} {short(foot)}l3.5 6h-7z")
    for kind, parts in columns.items():
        sheet.path(parts, "column", kind)
    sheet.path(marks, "failed")
    sheet.line(sheet.left, y(0), sheet.right, y(0), "axis")
    sheet.y += height + 14
    if marks:
        sheet.text(sheet.left - 5, sheet.y - 4, "failed", "tick", "failed-text", anchor="end")


def _column(parts: list[str], left: float, right: float, bottom: float, top: float) -> None:
    parts.append(f"M{short(left)} {short(bottom)}V{short(top)}H{short(right)}V{short(bottom)}z")


def _latency(sheet: Sheet, bins: Sequence[Bin], clock: float, x: Linear, slow: float) -> None:
    sheet.title("latency of good answers: largest and median")
    height = 100.0
    values = [value for one in bins for value in (one.slowest, one.median) if value is not None]
    if not values:
        sheet.y += 4
        return
    y = around(min(values), max(values), sheet.y + height, sheet.y)
    _latency_axis(sheet, y)
    area: list[str] = []
    median: list[str] = []
    joined = False
    for one in bins:
        left, right = x(one.began - clock), x(one.ended - clock)
        if one.slowest is None or one.median is None:
            joined = False
            continue
        _column(area, left, right, sheet.y + height, y(one.slowest))
        middle = (left + right) / 2
        median.append(f"{'L' if joined else 'M'}{short(middle)} {short(y(one.median))}")
        if not joined:
            median.append("h0.1")
        joined = True
    sheet.path(area, "slowest")
    sheet.path(median, "median")
    if slow and y.low < slow < y.high:
        sheet.line(sheet.left, y(slow), sheet.right, y(slow), "limit")
        sheet.text(sheet.right, y(slow) - 4, f"slow from {duration(slow)}", "tick", anchor="end")
    sheet.y += height + 4


def _latency_axis(sheet: Sheet, y: Logarithmic) -> None:
    for tick in y.ticks():
        sheet.line(sheet.left, y(tick), sheet.right, y(tick), "grid")
        sheet.text(sheet.left - 5, y(tick) + 4, duration(tick), "tick", anchor="end")
    sheet.line(sheet.left, y.start, sheet.right, y.start, "axis")


def _marks(sheet: Sheet, report: Report, near: Sequence[Probe], clock: float, x: Linear) -> None:
    """One mark for each request: a dot by the primary, a square by the standby, a cross for a failed one."""
    height = 170.0
    latencies = [max(probe.latency, 1e-4) for probe in near]
    y = around(min(latencies), max(latencies), sheet.y + height, sheet.y + 6)
    _latency_axis(sheet, y)
    size = 3.0 if sheet.wide and len(near) < 400 else 2.2
    shapes: dict[str, list[str]] = {}
    for probe in near:
        if probe.unsent:
            continue
        kind = "failed" if probe.failed else class_of(report, probe.zone or UNNAMED)
        at, up = x(probe.scheduled - clock), y(probe.latency)
        shapes.setdefault(kind, []).append(_SHAPES[kind](at, up, size))
    for kind, parts in shapes.items():
        sheet.path(parts, "mark", kind)
    sheet.y += height + 4


def _dot(x: float, y: float, size: float) -> str:
    return f"M{short(x - size)} {short(y)}a{size} {size} 0 1 0 {2 * size} 0a{size} {size} 0 1 0 {-2 * size} 0z"


def _square(x: float, y: float, size: float) -> str:
    return f"M{short(x - size)} {short(y - size)}h{2 * size}v{2 * size}h{-2 * size}z"


def _cross(x: float, y: float, size: float) -> str:
    size += 0.6
    return f"M{short(x - size)} {short(y - size)}l{2 * size} {2 * size}m0 {-2 * size}l{-2 * size} {2 * size}"


def _diamond(x: float, y: float, size: float) -> str:
    return f"M{short(x)} {short(y - size - 1)}l{size + 1} {size + 1}l{-size - 1} {size + 1}l{-size - 1} {-size - 1}z"


_SHAPES = {"primary": _dot, "standby": _square, "failed": _cross, "other": _diamond}


def _moments(sheet: Sheet, report: Report, x: Linear) -> list[tuple[float, float]]:
    """Write the moments of the outage, above each other where they would touch; return each with where it stands."""
    line = report.timeline
    named = [
        ("fault begins" if line.fault_began is not None else "switch begins", _anchor(report)),
        ("first failed request", line.first_failed),
        ("fault proven", line.fault_proven),
        ("detected", line.detected),
        ("switched", line.active),
        ("first good answer", line.first_good),
    ]
    zero = _anchor(report) or 0.0
    labels = sorted(((at, name) for name, at in named if at is not None and x.low <= at <= x.high))
    row_ends: list[float] = []
    placed: list[tuple[float, float]] = []
    for at, name in labels:
        text = f"{name} +{at - zero:.2f} s" if at != zero else f"{name} {at:.2f} s"
        room = len(text) * LETTER + 10
        anchor = "start" if x(at) + room < sheet.right else "end"
        begin = x(at) if anchor == "start" else x(at) - room
        row = next((n for n, end in enumerate(row_ends) if end <= begin), len(row_ends))
        if row == len(row_ends):
            row_ends.append(0.0)
        row_ends[row] = begin + room
        y = sheet.y + row * LINE
        sheet.text(x(at) + (4 if anchor == "start" else -4), y + 11, text, "moment-name", anchor=anchor)
        placed.append((at, y))
    sheet.y += len(row_ends) * LINE + 6
    return placed


def _time_axis(sheet: Sheet, x: Linear, report: Report) -> None:
    sheet.line(sheet.left, sheet.y, sheet.right, sheet.y, "axis")
    for tick in x.ticks(10 if sheet.wide else 4):
        sheet.line(x(tick), sheet.y, x(tick), sheet.y + 4, "axis")
        sheet.text(x(tick), sheet.y + 16, f"{tick:g}", "tick", anchor="middle")
    began = report.started_at[11:19]
    sheet.text(sheet.right, sheet.y + 32, f"seconds since the run began, {began} UTC", "tick", anchor="end")
    sheet.y += 38
