"""Which points there are, and picking some; times without service; the table's line. All of it pure."""

from __future__ import annotations

import pytest

from tests.crash.client import Asked, Span, served, spans
from tests.crash.machine import differences
from tests.crash.points import kills, matrix, pick
from tests.crash.row import Row, summary

RECORD = """\
1.0 before begin/all/journal.run
1.1 before connect/gateway/GuardClient.acquire
1.2 before connect/gateway/survey:http
"""


def test_each_effect_has_a_kill_before_it_and_a_command_one_in_flight() -> None:
    assert kills(RECORD) == [
        ("before", "begin/all/journal.run"),
        ("before", "connect/gateway/GuardClient.acquire"),
        ("during", "connect/gateway/GuardClient.acquire"),
        ("before", "connect/gateway/survey:http"),
        ("after", "connect/gateway/survey:http"),
    ]


def test_points_are_picked_by_number_range_and_name() -> None:
    points = matrix(RECORD, ["gateway rebooted"])
    assert [point.number for point in points] == [1, 2, 3, 4, 5, 6]
    assert [point.number for point in pick(points, ["2", "5-"])] == [2, 5, 6]
    assert [point.number for point in pick(points, ["acquire", "rebooted"])] == [2, 3, 6]
    assert pick(points, []) == points
    with pytest.raises(ValueError, match="`failback` is no point"):
        pick(points, ["failback"])


def test_a_time_without_service_goes_from_the_first_failure_to_the_next_good_answer() -> None:
    asked = [
        Asked(0.0, 0.1, "zone-a"),
        Asked(1.0, 1.1, None, "502"),
        Asked(2.0, 2.1, None, "502"),
        Asked(3.0, 3.1, "zone-b"),
        Asked(4.0, 4.1, None, "502"),
    ]
    assert spans(asked) == [Span(1.0, 3.1, "zone-b"), Span(4.0, 4.1)]
    assert spans([]) == []
    assert served(asked) == "zone-a 0.1 s, nobody (502) 1.1 s, zone-b 0.1 s, nobody (502) 0.1 s"


def test_a_row_is_late_when_service_took_longer_than_the_lease_and_the_server() -> None:
    assert Row(1, "x", "", back=14.0, loading=4.5, limit=10.0).verdict == "equal"
    assert Row(1, "x", "", back=15.0, loading=4.5, limit=10.0).verdict == "LATE"
    assert Row(1, "x", "", wrong=["a file"]).verdict == "UNEQUAL"


def test_the_summary_counts_what_is_wrong_and_says_what() -> None:
    text = summary([Row(1, "x", ""), Row(2, "y", "", wrong=["gateway: new: file /etc/a"])], 10.0)
    assert "2 points: 1 equal and in time, 1 not." in text
    assert "gateway: new: file /etc/a" in text


def test_differences_name_what_is_gone_new_and_changed() -> None:
    found = differences({"a": "1", "b": "1"}, {"b": "2", "c": "1"})
    assert found == ["gone: a", "new: c", "changed: b: '1' became '2'"]
