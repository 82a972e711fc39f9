"""Figures in words: in the unit that a person would use, and one unit along an axis."""

from __future__ import annotations

import pytest

from drillctl.history.metric import METRICS


@pytest.mark.parametrize(
    ("value", "beside", "words"),
    [
        (0.2249, None, "0.22 s"),
        (0.0312, None, "31 ms"),
        (0.0, None, "0 s"),
        (300.0, None, "300 s"),
        (0.084, 0.31, "0.08 s"),
        (0.01, 0.09, "10 ms"),
        (27.3, 300.0, "27 s"),
        (0.0, 0.05, "0 s"),
    ],
)
def test_seconds(value: float, beside: float | None, words: str) -> None:
    assert METRICS["recovery_time"].said(value, beside) == words


@pytest.mark.parametrize(("value", "words"), [(0.0, "0"), (11.0, "11"), (2.5, "2.5"), (12345.0, "12345")])
def test_counts(value: float, words: str) -> None:
    assert METRICS["lost_requests"].said(value) == words
