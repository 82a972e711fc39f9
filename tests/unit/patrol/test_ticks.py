"""The moments at which a patrol looks: aligned, without drift, never in a bunch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drillctl.patrol.ticks import Ticks

NOON = 1_764_072_000.0
"""12:00:00 UTC of some day."""


def test_looks_are_at_whole_multiples_of_the_interval_on_the_wall_clock() -> None:
    ticks = Ticks(30, wall=NOON + 12.5, monotonic=100.0)
    assert ticks.due == 117.5, "at 12:00:30"
    assert ticks.advance(118.0) == 0
    assert ticks.due == 147.5


def test_a_thousand_slow_looks_move_no_moment() -> None:
    ticks = Ticks(30, wall=NOON, monotonic=100.0)
    for _ in range(1000):
        assert ticks.advance(ticks.due + 29.9) == 0
    assert ticks.due == 100.0 + 1000 * 30
    assert ticks.missed == 0


def test_what_went_by_is_skipped_and_counted_not_made_up_for() -> None:
    ticks = Ticks(30, wall=NOON, monotonic=0.0)
    assert ticks.advance(65.0) == 2, "the looks at 30 and at 60 are lost"
    assert ticks.due == 90.0
    assert ticks.advance(90.1) == 0
    assert (ticks.due, ticks.missed) == (120.0, 2)


def test_a_look_that_ends_when_the_next_is_due_costs_that_one() -> None:
    ticks = Ticks(30, wall=NOON, monotonic=0.0)
    assert ticks.advance(30.0) == 1
    assert ticks.due == 60.0


@given(
    every=st.floats(1, 3600),
    wall=st.floats(1e9, 2e9),
    start=st.floats(0, 1e6),
    looks=st.lists(st.floats(0, 10_000), min_size=1, max_size=50),
)
def test_time_only_goes_on_and_every_moment_is_looked_at_or_counted(
    every: float, wall: float, start: float, looks: list[float]
) -> None:
    ticks = Ticks(every, wall=wall, monotonic=start)
    first = ticks.due
    assert first >= start
    for took in looks:
        begun = ticks.due
        ticks.advance(begun + took)
        assert ticks.due > begun + took - 1e-6
        assert ticks.due - (begun + took) <= every * (1 + 1e-9) + 1e-6, "the next moment, not a later one"
    number = round((ticks.due - first) / every)
    assert number == pytest.approx(len(looks) + ticks.missed)
