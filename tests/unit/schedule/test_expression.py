"""When a drill runs: what cron and systemd make of an expression, and that both make the same."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from drillctl.errors import UsageError
from drillctl.schedule import expression

AFTER = datetime(2026, 11, 25, 17, 0, tzinfo=UTC)
systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")


def test_every_thirty_is_minutes_and_says_so() -> None:
    parsed = expression.parse("*/30 * * * *")
    assert parsed.words == "every 30th minute of every hour"
    assert parsed.next_runs(AFTER) == [AFTER + timedelta(minutes=30 * n) for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("*/30 * * * * *", "cron has five fields and no seconds; these are 6"),
        ("30s", "not at intervals"),
        ("every 5 minutes", "not at intervals"),
        ("", "empty"),
        ("61 * * * *", "Bad minute"),
        ("0 3 * * mon-foo", "not one that cron(8) reads"),
        ("0 3 L * *", "not one that cron(8) reads"),
        ("0 3 * * 1#1", "not one that cron(8) reads"),
        ("0 3 31 2 *", "Bad day-of-month"),
        ("whenever", "Failed to parse"),
        ("2001-01-01 03:00", "never comes again"),
        ("0 3 * * *\n* * * * *", "these are 10"),
        ("Mon 03:00\x1b[2J", "cannot be printed"),
    ],
)
def test_what_is_no_time_is_refused_with_what_would_do(text: str, why: str) -> None:
    with pytest.raises(UsageError) as refused:
        expression.parse(text)
    assert why in str(refused.value), str(refused.value)
    assert "`0 3 * * 1` (Mondays at 3:00)" in (refused.value.hint or "")
    assert refused.value.state == "nothing was changed"


@systemd
@pytest.mark.parametrize(
    "cron",
    [
        "0 3 * * 1",
        "*/30 * * * *",
        "15,45 1-5/2 * * 1-5",
        "0 4 1 * 1",
        "0 0 29 2 *",
        "7 7 */10 * *",
        "0 12 * 1,7 sun",
        "@weekly",
    ],
)
def test_a_timer_of_systemd_runs_when_cron_would(cron: str) -> None:
    parsed = expression.parse(cron)
    now = datetime.now(UTC)
    by_systemd = {run for calendar in parsed.calendars for run in expression._systemd(calendar, 4)[1]}
    assert len(by_systemd) >= 4
    # systemd-analyze reads local time; this machine's must be taken for both.
    wanted = parsed.next_runs(now.astimezone(expression.local_zone()), 4)
    assert sorted(by_systemd)[:4] == [run.astimezone(UTC) for run in wanted]


@systemd
@pytest.mark.parametrize(
    ("calendar", "cron"),
    [
        ("Mon 03:00", "0 3 * * 1"),
        ("Mon..Fri 03:00", "0 3 * * 1-5"),
        ("Sat,Sun 03:30", "30 3 * * 6,7"),
        ("daily", "0 0 * * *"),
        ("*:0/15", "*/15 * * * *"),
        ("*-*-1..7 02:00", "0 2 1-7 * *"),
        ("*-1,7-15 8..18/2:05", "5 8-18/2 15 1,7 *"),
        ("quarterly", "0 0 1 1,4,7,10 *"),
    ],
)
def test_a_calendar_expression_is_said_as_cron_where_cron_can(calendar: str, cron: str) -> None:
    parsed = expression.parse(calendar)
    assert parsed.cron == cron
    now = datetime.now(expression.local_zone())
    _, by_systemd = expression._systemd(calendar, 4)
    assert [run.astimezone(UTC) for run in parsed.next_runs(now, 4)] == by_systemd


@systemd
@pytest.mark.parametrize(
    ("calendar", "why"),
    [
        ("*-*-* *:*:0/30", "seconds"),
        ("2030-*-* 03:00", "a year"),
        ("Mon 03:00 Asia/Shanghai", "a time zone"),
        ("Mon *-*-1..7 03:00", "must both hold"),
        ("*-*~1 03:00", "a year or a time zone"),
    ],
)
def test_what_cron_cannot_say_is_not_said_wrongly(calendar: str, why: str) -> None:
    parsed = expression.parse(calendar)
    assert parsed.cron is None
    assert why in parsed.why_not_cron
    runs = parsed.next_runs(datetime.now(UTC))
    assert len(runs) == 3
    assert runs == sorted(runs)


def test_the_next_runs_follow_the_clock_of_the_time_zone() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    runs = expression.parse("0 3 * * *").next_runs(datetime(2027, 3, 26, 12, tzinfo=berlin))
    assert [run.astimezone(UTC).hour for run in runs] == [2, 1, 1], "summer time begins on 28 March"


def test_the_time_zone_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    assert expression.local_zone() == ZoneInfo("Asia/Shanghai")
    monkeypatch.setenv("TZ", "Nowhere/Nothing")
    assert expression.local_zone() is not None
