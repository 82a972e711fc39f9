"""When things happened in a run, as a part of the report (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.report.document import Document
from drillctl.traffic.outage import NotRecovered, Outage

if TYPE_CHECKING:
    from drillctl.run import Run
    from drillctl.traffic.outage import NoOutage


class Timeline(Document):
    """Moments in seconds since the run began; None: it did not come to that.

    `clock` is CLOCK_MONOTONIC of the controller when the run began: the times of probes.jsonl minus it are on the same
    axis. `first_failed` and `first_good` are when these requests were due; `sustained` is when the recovery was proven.
    """

    clock: float | None = None
    fault_began: float | None = None
    fault_proven: float | None = None
    first_failed: float | None = None
    detected: float | None = None
    switch_began: float | None = None
    active: float | None = None
    first_good: float | None = None
    sustained: float | None = None
    restore_began: float | None = None
    traffic_ended: float | None = None


def timeline_of(run: Run, measured: Outage | NoOutage | NotRecovered | None) -> Timeline:
    """Return the moments of a run that has ended."""
    moments = {name: moment for name, moment in vars(run.moments).items() if name in Timeline.model_fields}
    if isinstance(measured, Outage):
        moments |= {
            "first_failed": measured.first_failed,
            "first_good": measured.first_good,
            "sustained": measured.sustained_at,
        }
    elif isinstance(measured, NotRecovered):
        moments |= {"first_failed": measured.first_failed}
    since = {name: round(at - run.began, 6) for name, at in moments.items() if at is not None}
    return Timeline(clock=round(run.began, 6), **since)
