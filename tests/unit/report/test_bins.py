"""Bins: no failed request and no largest latency is lost, however many requests one bin holds."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from told import probe

from drillctl.report.bins import bins_of


@given(st.text("PSWx", min_size=1, max_size=200), st.integers(1, 50))
def test_every_request_is_in_one_bin(letters: str, number: int) -> None:
    probes = [probe(seq, letter, 10 + seq * 0.1) for seq, letter in enumerate(letters)]
    bins = bins_of(probes, 10, 10 + len(letters) * 0.1, number)
    assert sum(one.total for one in bins) == len(letters)
    assert sum(one.failed for one in bins) == letters.count("x")
    assert sum(one.ok["zone-a"] for one in bins) == letters.count("P")
    assert max((one.slowest or 0 for one in bins), default=0) == pytest.approx(0.02 if set(letters) - {"x"} else 0)


def test_one_failed_request_among_60_000_is_still_there() -> None:
    place = random.Random(7).randrange(60_000)
    probes = [probe(seq, "x" if seq == place else "P", seq * 0.02) for seq in range(60_000)]
    bins = bins_of(probes, 0, 1200, 480)
    assert [number for number, one in enumerate(bins) if one.failed] == [place * 480 // 60_000]


def test_what_was_due_outside_is_in_none() -> None:
    probes = [probe(0, "P", 1.0), probe(1, "x", 5.0)]
    assert sum(one.total for one in bins_of(probes, 2, 4, 3)) == 0
