"""One metric over the runs of a playbook on an inventory (pure)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from drillctl.history.metric import METRICS, Metric
from drillctl.history.percentile import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from drillctl.history.record import RunRecord

Mark = Literal["counted", "missed", "none"]


@dataclass(frozen=True)
class Point:
    """One run. `mark`: it counts; it has a figure but missed an objective or was not whole; it has no figure."""

    run_id: str
    when: datetime
    verdict: str
    value: float | None
    mark: Mark
    limit: float | None


@dataclass(frozen=True)
class Figures:
    """What the runs that count say together."""

    count: int
    p50: float
    p90: float
    mean: float
    min: float
    max: float


@dataclass(frozen=True)
class Trend:
    """The points, the oldest first. `left_out` counts by verdict the runs that are in no figure."""

    metric: Metric
    inventory: str
    playbook: str
    points: tuple[Point, ...]
    figures: Figures | None
    left_out: dict[str, int]

    @property
    def limit(self) -> float | None:
        """Return what the objective of the newest run that had one allowed."""
        return next((point.limit for point in reversed(self.points) if point.limit is not None), None)

    def document(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        figures = self.figures
        return {
            "schema_version": 1,
            "metric": self.metric.name,
            "unit": self.metric.unit or "count",
            "inventory": self.inventory,
            "playbook": self.playbook,
            "objective": self.limit,
            "figures": None
            if figures is None
            else {name: getattr(figures, name) for name in ("count", "p50", "p90", "mean", "min", "max")},
            "left_out": self.left_out,
            "runs": [
                {
                    "run_id": point.run_id,
                    "started_at": point.when.isoformat().replace("+00:00", "Z"),
                    "verdict": point.verdict,
                    "value": point.value,
                    "counted": point.mark == "counted",
                }
                for point in self.points
            ],
        }


def trend_of(runs: Sequence[RunRecord], metric: str, inventory: str, playbook: str) -> Trend:
    """Return the trend of a metric over runs of one playbook on one inventory, in any order.

    Only comparable runs count: a run that failed or was stopped says something of that, and nothing of the metric.
    """
    ordered = sorted(runs, key=lambda run: (run.started_at, run.run_id))
    points = tuple(_point(run, metric) for run in ordered)
    values = [point.value for point in points if point.mark == "counted" and point.value is not None]
    figures = None
    if values:
        figures = Figures(
            count=len(values),
            p50=percentile(values, 50),
            p90=percentile(values, 90),
            mean=sum(values) / len(values),
            min=min(values),
            max=max(values),
        )
    left_out = Counter(point.verdict for point in points if point.mark != "counted")
    return Trend(METRICS[metric], inventory, playbook, points, figures, dict(left_out))


def _point(run: RunRecord, metric: str) -> Point:
    value = run.metric(metric)
    mark: Mark = "none" if value is None else "counted" if run.comparable else "missed"
    return Point(run.run_id, run.started_at, run.verdict, value, mark, run.limit(metric))


def in_words(trend: Trend) -> list[str]:
    """Return what the figures say, what was left out of them, and the objective."""
    metric, figures = trend.metric, trend.figures
    left = ", ".join(f"{number} {verdict}" for verdict, number in sorted(trend.left_out.items()))
    if figures is None:
        said = ["no run counts yet" + (f": {left}" if left else "")]
    else:
        shown = [("p50", figures.p50), ("p90", figures.p90), ("min", figures.min), ("max", figures.max)]
        counted = "1 comparable run" if figures.count == 1 else f"{figures.count} comparable runs"
        said = [f"{', '.join(f'{name} {metric.said(value)}' for name, value in shown)} over {counted}"]
        if left:
            said.append(f"left out of these figures: {left}")
    if trend.limit is not None:
        said.append(f"objective: at most {metric.said(trend.limit)}")
    return said
