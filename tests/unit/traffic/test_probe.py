"""The record of one request."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from drillctl.traffic.probe import Probe, is_missed

PROBE = Probe(7, "fresh", "红-circle.jpg", 10.0, 10.001, 10.25, 200, None, "a", "a-1", "ab" * 32, False)


def test_survives_one_line_of_json():
    line = PROBE.to_json()
    assert "\n" not in line
    assert Probe.from_json(line) == PROBE


def test_schema_of_the_record_is_stable():
    assert json.loads(PROBE.to_json()) == {
        "seq": 7,
        "lane": "fresh",
        "image": "红-circle.jpg",
        "scheduled": 10.0,
        "sent": 10.001,
        "done": 10.25,
        "status": 200,
        "error": None,
        "zone": "a",
        "host": "a-1",
        "digest": "ab" * 32,
        "missed": False,
    }


@pytest.mark.parametrize(
    "line", ["", "{}", "[]", "null", PROBE.to_json()[:-9], PROBE.to_json().replace("seq", "sequence")]
)
def test_anything_else_is_refused(line):
    with pytest.raises(ValueError):
        Probe.from_json(line)


def test_latency_counts_from_the_scheduled_send():
    assert PROBE.latency == pytest.approx(0.25)
    assert PROBE.lag == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("change", "ok", "failed", "unsent", "kind"),
    [
        ({}, True, False, False, "ok"),
        ({"status": 502}, False, True, False, "status 502"),
        ({"status": 302}, False, True, False, "status 302"),
        ({"status": None, "error": "timeout"}, False, True, False, "timeout"),
        ({"status": 200, "error": "closed"}, False, True, False, "closed"),
        ({"status": None, "error": "client:EMFILE"}, False, False, True, "client:EMFILE"),
    ],
)
def test_what_counts_as_good_failed_and_unsent(change, ok, failed, unsent, kind):
    probe = replace(PROBE, **change)
    assert (probe.ok, probe.failed, probe.unsent, probe.kind) == (ok, failed, unsent, kind)


def test_missed_is_later_than_one_interval_and_than_50_ms():
    assert not is_missed(10.0, 10.049, interval=0.005)
    assert is_missed(10.0, 10.051, interval=0.005)
    assert not is_missed(10.0, 10.9, interval=1.0)
    assert is_missed(10.0, 11.1, interval=1.0)
