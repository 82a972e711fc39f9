"""The figures of a run that are followed over time (pure)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One figure of a run: its name in rules and on the command line, what it is, and its unit (empty: a count)."""

    name: str
    about: str
    unit: str

    def said(self, value: float, beside: float | None = None) -> str:
        """Return a value in words; in the unit of the value that it stands `beside`, as on an axis."""
        if not self.unit:
            return f"{value:.0f}" if value.is_integer() else f"{value:.1f}"
        size = abs(value if beside is None else beside)
        if value and 0 < size < 0.1:
            return f"{value * 1000:.0f} ms"
        return f"{value:.2f} s" if value and size < 100 else f"{value:.0f} s"


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("recovery_time", "the outage as clients saw it", "s"),
        Metric("detection", "from the first failed request until the failure was noticed", "s"),
        Metric("switch", "from there until the new gateway config was in place", "s"),
        Metric("answer", "from there until the first sustained good request", "s"),
        Metric("lost_requests", "requests that failed from the fault until the restore began", ""),
        Metric("wrong_answers", "good answers whose content was not the baseline's", ""),
        Metric("restore_failed", "requests that failed while things were put back", ""),
        Metric("restore_time", "from the begin of the restore to the end of the traffic", "s"),
        Metric("latency_p50", "median latency over the whole run", "s"),
        Metric("latency_p99", "99th percentile of the latency over the whole run", "s"),
        Metric("duration", "the whole run", "s"),
    )
}
"""Every metric by name, in the order in which they are shown. For all of them less is better."""
