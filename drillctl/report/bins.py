"""Requests put together by time, so that a picture of 60,000 of them says what one of each would (pure).

A failed request is counted in its bin and never averaged away; the latency of a bin is its largest, and its median.
"""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drillctl.traffic.outage import UNNAMED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drillctl.traffic.probe import Probe


@dataclass
class Bin:
    """The requests that were due in one stretch of time; times are those of the probes, latencies in seconds.

    `ok` counts the good ones by zone. `slowest` is the largest latency of the good ones, `median` theirs; None without.
    """

    began: float
    ended: float
    ok: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    late: int = 0
    latencies: list[float] = field(default_factory=list)

    @property
    def slowest(self) -> float | None:
        """The largest latency of a good answer."""
        return max(self.latencies, default=None)

    @property
    def median(self) -> float | None:
        """The median latency of the good answers."""
        return statistics.median(self.latencies) if self.latencies else None

    @property
    def total(self) -> int:
        """How many requests it holds."""
        return self.ok.total() + self.failed


def bins_of(probes: Sequence[Probe], since: float, until: float, number: int) -> list[Bin]:
    """Return `number` bins of equal width from `since` to `until`; requests due outside of these are in none."""
    width = (until - since) / number
    bins = [Bin(since + place * width, since + (place + 1) * width) for place in range(number)]
    for probe in probes:
        if not since <= probe.scheduled <= until:
            continue
        one = bins[min(number - 1, int((probe.scheduled - since) / width))]
        if probe.failed:
            one.failed += 1
        elif probe.ok:
            one.ok[probe.zone or UNNAMED] += 1
            one.latencies.append(probe.latency)
        one.late += probe.missed or probe.unsent
    return bins
