"""The trend of a metric: what counts, what is only marked, and what is said of it."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drillctl.history.percentile import percentile
from drillctl.history.record import record_of
from drillctl.history.trend import in_words, trend_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.history.record import RunRecord


@pytest.fixture
def runs(make_report: Callable[..., dict[str, Any]]) -> list[RunRecord]:
    told = [
        ("passed", 0.2), ("failed", 9.0), ("passed", 0.4), ("aborted", None), ("passed", 0.3), ("not-started", None),
        ("restore-incomplete", 0.1), ("inconclusive", 0.2),
    ]  # fmt: skip
    return [record_of(make_report(number, verdict, outage)) for number, (verdict, outage) in enumerate(told)]


def test_runs_that_did_not_pass_are_marked_and_in_no_figure(runs: list[RunRecord]) -> None:
    trend = trend_of(runs[::-1], "recovery_time", "shop", "zone-failover")
    assert [point.mark for point in trend.points] == [
        "counted", "missed", "counted", "none", "counted", "none", "missed", "missed",
    ]  # fmt: skip
    assert trend.figures is not None
    assert (trend.figures.count, trend.figures.p50, trend.figures.max) == (3, 0.3, 0.4)
    assert trend.left_out == {
        "failed": 1, "aborted": 1, "not-started": 1, "restore-incomplete": 1, "inconclusive": 1,
    }  # fmt: skip
    assert in_words(trend) == [
        "p50 0.30 s, p90 0.38 s, min 0.20 s, max 0.40 s over 3 comparable runs",
        "left out of these figures: 1 aborted, 1 failed, 1 inconclusive, 1 not-started, 1 restore-incomplete",
        "objective: at most 0.50 s",
    ]


def test_without_a_run_that_counts_there_are_no_figures(runs: list[RunRecord]) -> None:
    trend = trend_of(runs[1:2], "recovery_time", "shop", "zone-failover")
    assert trend.figures is None
    assert in_words(trend)[0] == "no run counts yet: 1 failed"
    assert trend.document()["figures"] is None


def test_the_document_has_every_run_and_its_unit(runs: list[RunRecord]) -> None:
    document = trend_of(runs, "lost_requests", "shop", "zone-failover").document()
    assert (document["unit"], document["objective"], len(document["runs"])) == ("count", 20, 8)
    assert document["runs"][0] == {
        "run_id": "20261101T120000Z-zone-failover-0000",
        "started_at": "2026-11-01T12:00:00Z",
        "verdict": "passed",
        "value": 11,
        "counted": True,
    }


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=40), st.integers(1, 99))
def test_percentiles_are_those_of_the_standard_library(values: list[float], percent: int) -> None:
    expected = statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
    assert percentile(values, percent) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_percentile_of_one_value_is_that_value() -> None:
    assert percentile([3.0], 90) == 3.0
