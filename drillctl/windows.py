"""When drills may run, by the inventory's windows and blackouts: moments, and the spans between them (pure).

The rule is about what the clock on the wall of the estate's time zone reads, and so needs no opinion on daylight
saving: a moment is inside a window if the clock reads a time from `opens` on and before `closes`. An hour that the
clock skips is in no window, an hour that it reads twice is inside both times or neither, and a window is never open
at a time that is not written down. A window that closes at or before it opens goes on past midnight, and belongs to
the day on which it opened. A blackout is whole days of the same clock, and outweighs every window.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from drillctl.fields import WEEKDAYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drillctl.gate_plan import Blackout, GatePlan, Window

HORIZON = timedelta(days=800)
"""How far ahead an opening is looked for: a weekly window within blackouts of more than two years has none."""

_MINUTE = timedelta(minutes=1)
_INSTANT = timedelta(microseconds=1)
_STEP = timedelta(hours=12)
"""No time zone changes its clock twice within that, so that one search finds the change."""


@dataclass(frozen=True)
class Span:
    """A time in which drills may run, in UTC: from `opens` on, before `closes`; None: not before the horizon."""

    opens: datetime
    closes: datetime | None

    def holds(self, now: datetime, needed: timedelta) -> bool:
        """Tell whether a drill that begins now, and may take so long, stays within it."""
        return self.opens <= now and (self.closes is None or now + needed <= self.closes)


def zone_of(gates: GatePlan) -> ZoneInfo:
    """Return the time zone of the gates' times and days."""
    return ZoneInfo(gates.time_zone or "UTC")


def in_window(window: Window, local: datetime) -> bool:
    """Tell whether a clock that reads `local` is within a window."""
    reads = local.hour * 60 + local.minute
    opens, closes = _minutes(window.opens), _minutes(window.closes)
    today = WEEKDAYS[local.weekday()] in window.days
    if opens < closes:
        return today and opens <= reads < closes
    yesterday = WEEKDAYS[local.weekday() - 1] in window.days
    return (today and reads >= opens) or (yesterday and reads < closes)


def blackout_at(gates: GatePlan, now: datetime) -> Blackout | None:
    """Return the blackout that a moment (aware) falls into, or None."""
    today = now.astimezone(zone_of(gates)).date()
    return next((b for b in gates.blackouts if b.first_day <= today <= (b.last_day or b.first_day)), None)


def blackout_within(gates: GatePlan, now: datetime, needed: timedelta) -> Blackout | None:
    """Return the first blackout that a drill from now (aware) on would meet, if it takes all the time it may."""
    zone = zone_of(gates)
    begin = now.astimezone(UTC)
    first, last = begin.astimezone(zone).date(), max(begin, begin + needed - _INSTANT).astimezone(zone).date()
    met = [b for b in gates.blackouts if b.first_day <= last and (b.last_day or b.first_day) >= first]
    return min(met, key=lambda blackout: blackout.first_day, default=None)


def window_at(gates: GatePlan, now: datetime) -> bool:
    """Tell whether a moment (aware) is within a window; always without any."""
    local = now.astimezone(zone_of(gates))
    return not gates.windows or any(in_window(window, local) for window in gates.windows)


def is_open(gates: GatePlan, now: datetime) -> bool:
    """Tell whether a drill may run at a moment (aware)."""
    return blackout_at(gates, now) is None and window_at(gates, now)


def spans(gates: GatePlan, since: datetime, horizon: timedelta = HORIZON) -> Iterator[Span]:
    """Yield the times in which drills may run, from the one at `since` (aware) on; that one opens at `since`."""
    opened = since.astimezone(UTC) if is_open(gates, since) else None
    if not gates.windows and not gates.blackouts:
        yield Span(since.astimezone(UTC), None)
        return
    for moment in _moments(gates, since.astimezone(UTC), horizon):
        now_open = is_open(gates, moment)
        if now_open and opened is None:
            opened = moment
        elif not now_open and opened is not None:
            yield Span(opened, moment)
            opened = None
    if opened is not None:
        yield Span(opened, None)


def next_fitting(gates: GatePlan, now: datetime, needed: timedelta) -> Span | None:
    """Return the first time from now on in which a drill that may take `needed` fits; None within the horizon."""
    for span in spans(gates, now):
        if (span.closes or now + HORIZON) - span.opens >= needed:
            return span
    return None


def _moments(gates: GatePlan, since: datetime, horizon: timedelta) -> Iterator[datetime]:
    """Yield, in order, every moment after `since` at which a window or blackout can begin or end, and some others."""
    zone = zone_of(gates)
    times = {_time(text) for window in gates.windows for text in (window.opens, window.closes)} | {time()}
    begin = since
    while begin < since + horizon:
        end = begin + _STEP
        found = set(_changes(zone, begin, end))
        day, last = begin.astimezone(zone).date(), end.astimezone(zone).date()
        while day <= last:
            # A time that the clock reads twice is two moments; one that it skips is two that do no harm.
            found |= {
                datetime.combine(day, at, zone).replace(fold=fold).astimezone(UTC) for at in times for fold in (0, 1)
            }
            day += timedelta(days=1)
        yield from sorted(moment for moment in found if begin < moment <= end)
        begin = end


def _changes(zone: ZoneInfo, begin: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the minute within (begin, end] at which the zone's clock is put forward or back, if there is one."""

    def offset(moment: datetime) -> timedelta | None:
        return moment.astimezone(zone).utcoffset()

    if offset(begin) == offset(end):
        return
    before, after = begin, end
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) / 2
        before, after = (middle, after) if offset(middle) == offset(begin) else (before, middle)
    # Clocks are changed at whole minutes; the search ends less than a second behind one.
    yield after.replace(second=0, microsecond=0)


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


def _time(text: str) -> time:
    """Return a time of day; 24:00 is the next day's 00:00, which is looked at in any case."""
    return time() if text == "24:00" else time.fromisoformat(text)
