"""Whether the standby can carry the current rate, by a short load straight on it: plan and judgement (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from drillctl.fields import Part
from drillctl.traffic.outage import Counts, count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drillctl.traffic.probe import Probe

Seconds = Annotated[float, Field(strict=True, gt=0, le=600)]


class CapacityPlan(Part):
    """The load: `rate` requests a second in all (the traffic's, if it is not given), for `seconds`, without an error.

    `p99_seconds` is the limit of the p99, by default the traffic's `slow_seconds`. `way`: `direct` from this machine,
    through the `gateway`'s host over SSH, or `auto`: direct where every server can be reached, otherwise `gateway`.
    """

    seconds: Seconds = 3.0
    rate: Annotated[float, Field(strict=True, gt=0, le=1000)] | None = None
    p99_seconds: Seconds | None = None
    way: Literal["auto", "direct", "gateway"] = "auto"


@dataclass(frozen=True)
class Carried:
    """What became of the load on every server together. `strangers` are zones that answered instead."""

    rate: float
    counts: Counts
    strangers: tuple[str, ...]

    def shortcoming(self, p99_seconds: float) -> str | None:
        """Return why the standby cannot carry it; None when it can."""
        due = self.counts.sent + self.counts.unsent
        if self.counts.unsent or not due:
            return f"{self.counts.unsent} of the {due} requests could not be sent by this machine"
        if self.counts.failed:
            kinds = ", ".join(f"{number} × {kind}" for kind, number in self.counts.kinds.items())
            return f"{self.counts.failed} of {self.counts.sent} requests failed ({kinds})"
        if self.strangers:
            return f"{', '.join(self.strangers)} answered instead"
        if self.counts.latency.p99 is None or self.counts.latency.p99 > p99_seconds:
            return f"the p99 is {_ms(self.counts.latency.p99)}, {_ms(p99_seconds)} are allowed"
        return None

    def __str__(self) -> str:
        """Return it in words."""
        told = f"{self.counts.ok} of {self.counts.sent} requests at {self.rate:g}/s, p99 {_ms(self.counts.latency.p99)}"
        return told + (f", {self.counts.missed} sent late" if self.counts.missed else "")


def carried(rate: float, zone: str, probes: Iterable[Probe]) -> Carried:
    """Return what became of a load of `rate` in all on the servers of a zone."""
    asked = list(probes)
    strangers = {probe.zone or "a server that names no zone" for probe in asked if probe.ok and probe.zone != zone}
    return Carried(rate, count(asked), tuple(sorted(strangers)))


def _ms(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds * 1000:.0f} ms"
