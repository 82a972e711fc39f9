"""The chart of characters: every run where it belongs, within the width, in any terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from drillctl.history.chart import ASCII, HEIGHT, UNICODE, chart, scale_of
from drillctl.history.record import record_of
from drillctl.history.trend import Trend, trend_of

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def make_trend(make_report: Callable[..., dict[str, Any]]) -> Callable[..., Trend]:
    def make(*told: tuple[str, float | None], limit: float = 0.5) -> Trend:
        runs = [
            record_of(make_report(number, verdict, recovery={"rto_seconds": limit, "outage_seconds": outage}))
            for number, (verdict, outage) in enumerate(told)
        ]
        return trend_of(runs, "recovery_time", "shop", "zone-failover")

    return make


TOLD = [("passed", 0.2), ("passed", 0.3), ("failed", 0.8), ("aborted", None), ("passed", 0.0)]


def test_every_run_is_drawn_at_its_height(make_trend: Callable[..., Trend]) -> None:
    lines = chart(make_trend(*TOLD), 60)
    assert lines == [
        "    0.88 s ┤",
        "           ┤                        ✗",
        "    0.72 s ┤",
        "           ┤",
        "           ┤",
        "    0.48 s ┤╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌",
        "           ┤",
        "           ┤            ●",
        "    0.24 s ┤",
        "           ┤●· · · · · · · · · · · · · · · · · · · · · · · ·",
        "           ┤",
        "       0 s ┤                                               ●",
        "           └────────────────────────────────────────────────",
        " no figure                                     ○",
        "            2026-11-01 12:00                2026-11-01 16:00",
        "● in the figures   ✗ did not pass, not in the figures   ○ no figure",
        "·· p50   ╌╌ objective",
    ]


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("count", [1, 2, 37, 300])
def test_it_fits_and_hides_no_failure(make_trend: Callable[..., Trend], width: int, count: int) -> None:
    told = [("failed" if number % 7 == 3 else "passed", 0.3) for number in range(count)]
    lines = chart(make_trend(*told), width)[: HEIGHT + 2]
    assert max(map(len, lines)) <= width
    drawn = "".join(lines)
    assert ("✗" in drawn) is any(verdict == "failed" for verdict, _ in told)
    assert drawn.count("●") + drawn.count("✗") <= count


def test_an_objective_far_above_is_said_and_not_drawn(make_trend: Callable[..., Trend]) -> None:
    trend = make_trend(("passed", 0.2), limit=300)
    assert scale_of(trend) == (pytest.approx(0.22), None)
    assert not any("╌" in line for line in chart(trend, 80))


def test_runs_without_any_figure_have_a_chart_too(make_trend: Callable[..., Trend]) -> None:
    lines = chart(make_trend(("aborted", None), ("not-started", None)), 80)
    assert sum(line.count("○") for line in lines[:-2]) == 2


def test_a_plain_terminal_gets_plain_characters(make_trend: Callable[..., Trend]) -> None:
    lines = chart(make_trend(*TOLD), 80, ASCII)
    assert "".join(lines).isascii()
    assert not any(mark in "".join(lines) for mark in (UNICODE.counted, UNICODE.missed))
