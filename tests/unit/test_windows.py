"""Windows and blackouts: what is open is what the clock on the wall reads, whatever is done to that clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drillctl import windows
from drillctl.fields import WEEKDAYS
from drillctl.gate_plan import Blackout, GatePlan, Window

MINUTE = timedelta(minutes=1)

# A zone, and moments (UTC) at which its clock is changed: forward, back, by half an hour, by a whole day.
CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    ("Africa/Casablanca", datetime(2026, 2, 15, 2, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 9, 6, 4, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ("Asia/Shanghai", datetime(2026, 5, 1, tzinfo=UTC)),
]


def plan(zone: str, *opened: Window, blackouts: tuple[Blackout, ...] = ()) -> GatePlan:
    return GatePlan(time_zone=zone, windows=opened, blackouts=blackouts)


def window(opens: str, closes: str, *days: str) -> Window:
    return Window.model_validate({"opens": opens, "closes": closes} | ({"days": days} if days else {}))


def at(zone: str, text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)


def written(gates: GatePlan, around: date) -> set[tuple[date, int]]:
    """Return every reading of the clock, as day and minute, that is allowed within ten days around a day.

    Made by writing down the minutes of each window one by one, without a comparison of times.
    """
    allowed: set[tuple[date, int]] = set()
    for offset in range(-10, 11):
        day = around + timedelta(days=offset)
        for one in gates.windows:
            if WEEKDAYS[day.weekday()] not in one.days:
                continue
            begin, end = (int(text[:2]) * 60 + int(text[3:]) for text in (one.opens, one.closes))
            for minute in range(begin, end if end > begin else end + 1440):
                allowed.add((day + timedelta(days=minute // 1440), minute % 1440))
    return {
        (day, minute)
        for day, minute in allowed
        if not any(b.first_day <= day <= (b.last_day or b.first_day) for b in gates.blackouts)
    }


clock_times = st.builds(lambda h, m: f"{h:02}:{m:02}", st.integers(0, 23), st.sampled_from([0, 1, 15, 30, 45, 59]))
some_windows = st.builds(
    lambda opens, closes, days: window(opens, closes if closes != opens else "24:00", *days),
    clock_times.filter(lambda text: text != "00:00") | st.just("00:00"),
    clock_times | st.just("24:00"),
    st.lists(st.sampled_from(WEEKDAYS), min_size=1, max_size=7, unique=True),
)


@settings(max_examples=60, deadline=None)
@given(
    change=st.sampled_from(CHANGES),
    opened=st.lists(some_windows, min_size=1, max_size=3),
    before=st.integers(0, 30 * 60),
    dark=st.none() | st.integers(-1, 1),
)
def test_spans_are_the_minutes_at_which_the_clock_reads_what_is_written(
    change: tuple[str, datetime], opened: list[Window], before: int, dark: int | None
) -> None:
    zone, changed = change
    local = changed.astimezone(ZoneInfo(zone)).date()
    blackouts = () if dark is None else (Blackout(first_day=local + timedelta(days=dark), reason="freeze"),)
    gates = plan(zone, *opened, blackouts=blackouts)
    since = changed - before * MINUTE
    allowed = written(gates, local)
    expected: list[bool] = []
    for number in range(48 * 60):
        reads = (since + number * MINUTE).astimezone(ZoneInfo(zone))
        expected.append((reads.date(), reads.hour * 60 + reads.minute) in allowed)
    found = [False] * len(expected)
    for span in windows.spans(gates, since, timedelta(hours=48)):
        begin = (span.opens - since) // MINUTE
        end = len(found) if span.closes is None else (span.closes - since) // MINUTE
        found[begin:end] = [True] * (min(end, len(found)) - begin)
    assert found == expected
    assert [windows.is_open(gates, since + n * MINUTE) for n in range(0, 48 * 60, 7)] == expected[::7]


@settings(max_examples=40, deadline=None)
@given(
    change=st.sampled_from(CHANGES),
    opened=st.lists(some_windows, min_size=1, max_size=2),
    before=st.integers(0, 7 * 24 * 60),
    needed=st.integers(1, 180),
)
def test_what_is_promised_to_fit_fits(
    change: tuple[str, datetime], opened: list[Window], before: int, needed: int
) -> None:
    gates = plan(change[0], *opened)
    now = change[1] - before * MINUTE
    span = windows.next_fitting(gates, now, needed * MINUTE)
    if span is None:
        return
    assert span.opens >= now
    minutes = [windows.is_open(gates, span.opens + n * MINUTE) for n in range(needed)]
    assert all(minutes), "a drill that begins as it opens stays within it"
    if span.opens > now:
        assert not windows.is_open(gates, span.opens - MINUTE), "it did not open earlier"


@pytest.mark.parametrize(
    ("zone", "opened", "since", "opens", "closes"),
    [
        # 02:00 to 03:00 is skipped: a window in it does not exist on that day.
        ("Europe/Berlin", window("02:15", "02:45"), "2026-03-29T00:00", "2026-03-30T02:15", "2026-03-30T02:45"),
        # One that begins in it opens when the clock is put forward.
        ("Europe/Berlin", window("02:30", "04:00"), "2026-03-29T00:00", "2026-03-29T03:00", "2026-03-29T04:00"),
        # 02:00 to 03:00 is read twice: three hours by any other clock.
        ("Europe/Berlin", window("01:00", "03:00"), "2026-10-25T00:00", "2026-10-25T01:00", "2026-10-25T03:00"),
        # Past midnight, of Friday: it is Saturday when it closes, and Saturday's own evening is not in it.
        ("Europe/Berlin", window("22:00", "04:00", "fri"), "2026-11-26T00:00", "2026-11-27T22:00", "2026-11-28T04:00"),
        ("UTC", window("00:00", "24:00", "sat", "sun"), "2026-11-26T00:00", "2026-11-28T00:00", "2026-11-30T00:00"),
    ],
)
def test_where_a_person_would_wonder(zone: str, opened: Window, since: str, opens: str, closes: str) -> None:
    span = next(windows.spans(plan(zone, opened), at(zone, since)))
    assert (span.opens, span.closes) == (at(zone, opens), at(zone, closes))


def test_an_hour_that_is_read_twice_counts_twice() -> None:
    span = next(windows.spans(plan("Europe/Berlin", window("01:00", "03:00")), at("Europe/Berlin", "2026-10-25T00:00")))
    assert span.closes is not None
    assert span.closes - span.opens == timedelta(hours=3)


def test_windows_that_touch_are_one() -> None:
    gates = plan("UTC", window("08:00", "12:00"), window("12:00", "14:00"))
    span = next(windows.spans(gates, datetime(2026, 11, 26, tzinfo=UTC)))
    assert span.closes == datetime(2026, 11, 26, 14, tzinfo=UTC)


def test_a_drill_must_fit_into_what_is_left() -> None:
    gates = plan("UTC", window("08:00", "12:00"))
    late = datetime(2026, 11, 26, 11, 50, 1, tzinfo=UTC)
    span = windows.next_fitting(gates, late, timedelta(minutes=10))
    assert span is not None
    assert span.opens == datetime(2026, 11, 27, 8, tzinfo=UTC)
    early = late - timedelta(seconds=1)
    assert windows.next_fitting(gates, early, timedelta(minutes=10)) == windows.Span(
        early, datetime(2026, 11, 26, 12, tzinfo=UTC)
    )
    assert windows.next_fitting(gates, early, timedelta(hours=5)) is None


def test_a_blackout_outweighs_a_window_by_whole_days_of_the_estates_clock() -> None:
    freeze = Blackout(first_day=date(2026, 12, 24), last_day=date(2026, 12, 26), reason="Christmas")
    gates = plan("Asia/Shanghai", window("00:00", "24:00"), blackouts=(freeze,))
    last = at("Asia/Shanghai", "2026-12-23T23:59")
    assert windows.is_open(gates, last)
    assert not windows.is_open(gates, last + MINUTE)
    assert windows.blackout_at(gates, last + MINUTE) == freeze
    span = windows.next_fitting(gates, last + MINUTE, timedelta(minutes=5))
    assert span is not None
    assert span.opens == at("Asia/Shanghai", "2026-12-27T00:00")


def test_without_windows_and_blackouts_it_is_always_open() -> None:
    now = datetime(2026, 11, 26, tzinfo=UTC)
    assert list(windows.spans(GatePlan(), now)) == [windows.Span(now, None)]


def test_an_endless_blackout_never_opens_and_says_so_soon() -> None:
    ever = Blackout(first_day=date(2020, 1, 1), last_day=date(2999, 1, 1), reason="decommissioned")
    gates = plan("Europe/Berlin", window("22:00", "04:00"), blackouts=(ever,))
    assert windows.next_fitting(gates, datetime(2026, 11, 26, tzinfo=UTC), MINUTE) is None
