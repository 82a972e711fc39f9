"""Flap damping: only what holds is an alarm, and only what stays away is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from drillctl.patrol.damping import Damping
from drillctl.patrol.finding import Finding

DOWN = Finding("health", "a-1", "its server does not answer")
START = datetime(2026, 11, 25, 12, tzinfo=UTC)


def told(damping: Damping, pattern: str) -> list[list[str]]:
    """Return what is said at each look; in the pattern, x is a look that finds it, and - one that does not."""
    return [
        [
            change.word
            for change in damping.update([DOWN] if mark == "x" else [], START + timedelta(seconds=30 * number))
        ]
        for number, mark in enumerate(pattern)
    ]


@pytest.mark.parametrize(
    ("hold", "pattern", "said"),
    [
        (2, "x", [["suspect"]]),
        (2, "xx", [["suspect"], ["alarm"]]),
        (2, "xxx", [["suspect"], ["alarm"], []]),
        (2, "x-", [["suspect"], ["vanished"]]),
        (2, "x-x-", [["suspect"], ["vanished"], ["suspect"], ["vanished"]]),
        (2, "xx-x-", [["suspect"], ["alarm"], [], [], []]),
        (2, "xx--", [["suspect"], ["alarm"], [], ["recovered"]]),
        (1, "x-", [["alarm"], ["recovered"]]),
        (3, "xx-xxx---", [["suspect"], [], ["vanished"], ["suspect"], [], ["alarm"], [], [], ["recovered"]]),
    ],
)
def test_a_change_must_hold(hold: int, pattern: str, said: list[list[str]]) -> None:
    assert told(Damping(hold), pattern) == said


def test_a_recovery_tells_since_when_it_was_wrong() -> None:
    damping = Damping(2)
    told(damping, "xx-")
    (change,) = damping.update([], START + timedelta(seconds=90))
    assert (change.word, change.since) == ("recovered", START)
    assert damping.alarms == ()


def test_the_same_alarm_in_other_words_is_said_as_a_change_not_as_another_alarm() -> None:
    damping = Damping(1)
    damping.update([DOWN], START)
    loading = Finding("health", "a-1", "its health is `loading`")
    assert [change.word for change in damping.update([loading], START)] == ["changed"]
    assert damping.alarms == (loading,)


def test_alarms_of_two_places_have_nothing_to_do_with_each_other() -> None:
    damping = Damping(2)
    other = Finding("health", "b-1", "its server does not answer")
    damping.update([DOWN], START)
    assert {(c.word, c.finding.place) for c in damping.update([DOWN, other], START)} == {
        ("alarm", "a-1"),
        ("suspect", "b-1"),
    }
