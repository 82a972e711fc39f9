"""The requests of a run as CSV, one row each, for a spreadsheet or a data frame (pure)."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drillctl.traffic.probe import Probe

COLUMNS = (
    "seq", "lane", "image", "scheduled", "sent", "done", "latency", "outcome",
    "status", "error", "zone", "host", "digest", "missed",
)  # fmt: skip
"""Times are seconds since the run began, `latency` from the scheduled send; `outcome` is ok, failed or unsent."""


def render(probes: Iterable[Probe], clock: float) -> str:
    """Return the rows; `clock` is what the monotonic clock read when the run began."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for p in probes:
        outcome = "ok" if p.ok else "unsent" if p.unsent else "failed"
        times = [f"{at - clock:.6f}" for at in (p.scheduled, p.sent, p.done)]
        texts = [_cell(text) for text in (p.error, p.zone, p.host)]
        writer.writerow(
            [p.seq, p.lane, _cell(p.image), *times, f"{p.latency:.6f}", outcome, p.status, *texts, p.digest, p.missed]
        )
    return stream.getvalue()


def _cell(text: str | None) -> str | None:
    """Return a text that no spreadsheet takes for a formula: names and headers come from other machines."""
    return f"'{text}" if text and text[0] in "=+-@\t\r" else text
