"""Export and the spans of time: what other programs read back is what was kept."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from drillctl.errors import UsageError
from drillctl.history.export import RUN_FIELDS, SAMPLE_FIELDS, sample_row, write_csv, write_json
from drillctl.history.record import record_of
from drillctl.history.span import span, when

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.history.sample import Sample

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def test_csv_is_read_back_by_a_standard_parser(make_report: Callable[..., dict[str, Any]]) -> None:
    record = record_of(make_report(reason='line\none, "two"', verdict="failed"))
    stream = io.StringIO()
    write_csv(stream, RUN_FIELDS, [record.document()])
    (row,) = csv.DictReader(io.StringIO(stream.getvalue()))
    assert row["reason"] == 'line\none, "two"'
    assert (row["recovery_time"], row["switch"], row["changed"]) == ("0.25", "", "true")
    assert row["started_at"] == "2026-11-01T12:00:00Z"


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_a_text_is_never_a_formula(make_sample: Callable[..., Sample], formula: str) -> None:
    stream = io.StringIO()
    write_csv(stream, SAMPLE_FIELDS, [sample_row(make_sample(problem=formula, latency_seconds=-0.5))])
    (row,) = csv.DictReader(io.StringIO(stream.getvalue()))
    assert row["problem"] == "'" + formula
    assert row["latency_seconds"] == "-0.5", "a number is one"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_is_one_document(make_sample: Callable[..., Sample], count: int) -> None:
    stream = io.StringIO()
    write_json(stream, "samples", (sample_row(make_sample(number)) for number in range(count)))
    document = json.loads(stream.getvalue())
    assert document["schema_version"] == 1
    assert [sample["at"] for sample in document["samples"]] == [
        f"2026-11-01T12:0{number // 2}:{number % 2 * 3}0Z" for number in range(count)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12h", timedelta(hours=12)),
        ("90d", timedelta(days=90)),
        ("2w", timedelta(days=14)),
        ("3y", timedelta(days=1095)),
    ],
)
def test_spans(text: str, expected: timedelta) -> None:
    assert span(text, "--keep") == expected


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1.5d", "90 days", "1m", "999999999y", "９0d"])
def test_what_is_no_span_is_refused_by_its_option(text: str) -> None:
    with pytest.raises(UsageError, match="--keep"):
        span(text, "--keep")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90d", NOW - timedelta(days=90)),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T08:00:00+08:00", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T12:30Z", datetime(2026, 11, 1, 12, 30, tzinfo=UTC)),
    ],
)
def test_moments(text: str, expected: datetime) -> None:
    assert when(text, "--since", NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "5m", "0000-00-00"])
def test_what_is_no_moment_is_refused_by_its_option(text: str) -> None:
    with pytest.raises(UsageError, match="--since"):
        when(text, "--since", NOW)
