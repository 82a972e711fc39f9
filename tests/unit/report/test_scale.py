"""Axes: values stay between the ends, ticks are round and on the axis."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drillctl.report.scale import Linear, Logarithmic, around, duration

NUMBERS = st.floats(-1e6, 1e6)


@given(NUMBERS, st.floats(1e-3, 1e6), NUMBERS)
def test_a_value_is_drawn_between_the_ends(low: float, span: float, value: float) -> None:
    assert 40 <= Linear(low, low + span, 40, 1000)(value) <= 1000


def test_the_ends_of_the_axis_are_where_they_belong() -> None:
    axis = Linear(2, 4, 100, 0)
    assert (axis(2), axis(3), axis(4)) == (100, 50, 0)
    axis = Logarithmic(0.001, 1, 90, 0)  # type: ignore[assignment]
    assert (axis(0.001), axis(0.01), axis(1), axis(5)) == (90, 60, 0, 0)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (11.93, 13.3, [12, 12.5, 13]), (0, 0.7, [0, 0.2, 0.4, 0.6]), (9, 9, [])],
)
def test_ticks_are_round_values_on_the_axis(low: float, high: float, ticks: list[float]) -> None:
    found = Linear(low, high, 0, 100).ticks(5)
    assert found == ticks or (low == high and len(found) <= 1)


@given(st.floats(1e-4, 10), st.floats(1e-4, 10))
def test_a_logarithmic_axis_holds_what_it_was_made_around(one: float, other: float) -> None:
    low, high = sorted((one, other))
    axis = around(low, high, 100, 0)
    assert axis.low <= low * 1.001
    assert axis.high >= high * 0.998
    assert all(axis.low * 0.999 <= tick <= axis.high * 1.001 for tick in axis.ticks())
    assert {f"{tick:.0e}"[0] for tick in axis.ticks()} <= {"1", "2", "5"}
    assert len(axis.ticks()) >= 2


def test_durations_read_as_people_write_them() -> None:
    assert [duration(t) for t in (0, 0.0123, 0.5, 1, 12.34)] == ["0", "12.3 ms", "500 ms", "1 s", "12.34 s"]
