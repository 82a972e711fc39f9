"""Runs and samples for other programs: CSV (RFC 4180) or one JSON document, written row by row."""

from __future__ import annotations

import csv
import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from drillctl.history.record import RunRecord
from drillctl.history.sample import Sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TextIO

RUN_FIELDS = tuple(field.name for field in fields(RunRecord))
SAMPLE_FIELDS = tuple(field.name for field in fields(Sample))


def sample_row(sample: Sample) -> dict[str, Any]:
    """Return a sample as a row."""
    row = {name: getattr(sample, name) for name in SAMPLE_FIELDS}
    return {**row, "at": sample.at.isoformat().replace("+00:00", "Z")}


def write_csv(stream: TextIO, names: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write a line of names, then a line for each row; what is not known is empty, a truth is true or false.

    A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(row[name]) for name in names] for row in rows)


def write_json(stream: TextIO, name: str, rows: Iterable[dict[str, Any]]) -> None:
    """Write one document with the rows under a name, each on a line of its own."""
    stream.write(f'{{"schema_version": 1, "{name}": [')
    between = "\n"
    for row in rows:
        stream.write(between + json.dumps(row, ensure_ascii=False))
        between = ",\n"
    stream.write("\n]}\n")


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        return "'" + value
    return value
