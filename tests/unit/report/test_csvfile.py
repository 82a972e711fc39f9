"""The requests as CSV: one row each, with times that count from the beginning of the run."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import pytest
from told import probe

from drillctl.report.csvfile import COLUMNS, render

if TYPE_CHECKING:
    from drillctl.report.stored import StoredRun


def test_every_request_is_a_row(recorded: StoredRun) -> None:
    clock = recorded.report.timeline.clock or 0.0
    rows = list(csv.DictReader(io.StringIO(render(recorded.probes, clock))))
    assert len(rows) == len(recorded.probes)
    assert tuple(rows[0]) == COLUMNS
    for row, one in zip(rows, recorded.probes, strict=True):
        assert float(row["scheduled"]) == pytest.approx(one.scheduled - clock, abs=1e-5)
        assert float(row["latency"]) == pytest.approx(one.latency, abs=1e-5)
        assert (row["outcome"] == "failed") is one.failed
    assert sum(row["outcome"] == "failed" for row in rows) == recorded.report.traffic.failed


def test_no_cell_is_a_formula() -> None:
    one = probe(0, "P", 1.0)
    for name in ("image", "zone", "host"):
        object.__setattr__(one, name, '=HYPERLINK("http://evil.example")')
    (row,) = csv.DictReader(io.StringIO(render([one], 0.0)))
    assert all(row[name].startswith("'=") for name in ("image", "zone", "host"))
