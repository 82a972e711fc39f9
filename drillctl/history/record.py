"""What the history keeps of a run in columns, made from the run's report (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from drillctl.history.metric import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping

UNFINISHED = "unfinished"
"""The verdict of a run that has a journal but no report: it was killed, or its disk was full."""

REGRESSION = "no regression"
"""How the names of objectives that compare a run with its history begin."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run. Times are UTC; durations and latencies in seconds; None: not measured, or not known.

    `changed`: something on a host was changed. `comparable`: it came to its end with every objective met, so that
    later runs may be compared with it. The fields named as in `metric.METRICS` are those metrics; the three limits
    are what the playbook's objectives allowed then.
    """

    run_id: str
    inventory: str
    playbook: str
    environment: str
    verdict: str
    exit_code: int | None
    started_at: datetime
    finished_at: datetime | None
    changed: bool
    comparable: bool
    reason: str | None
    drillctl_version: str | None
    controller: str | None
    recovery_time: float | None = None
    uncertainty: float | None = None
    detection: float | None = None
    switch: float | None = None
    answer: float | None = None
    lost_requests: float | None = None
    wrong_answers: float | None = None
    restore_failed: float | None = None
    restore_time: float | None = None
    latency_p50: float | None = None
    latency_p99: float | None = None
    duration: float | None = None
    recovery_time_limit: float | None = None
    lost_requests_limit: float | None = None
    restore_failed_limit: float | None = None

    def metric(self, name: str) -> float | None:
        """Return a metric's value; None: not measured. Raises KeyError for what is no metric."""
        value: float | None = getattr(self, METRICS[name].name)
        return value

    def metrics(self) -> dict[str, float | None]:
        """Return every metric by name."""
        return {name: self.metric(name) for name in METRICS}

    def limit(self, name: str) -> float | None:
        """Return what the playbook's objective allowed for a metric; None: there was no such objective."""
        value: float | None = getattr(self, f"{name}_limit", None)
        return value

    def document(self) -> dict[str, Any]:
        """Return it as a part of a JSON document, or as a line of a CSV file."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}


def record_of(report: Mapping[str, Any], *, controller: str | None = None) -> RunRecord:
    """Return the record of a report, given as the document that `--json` prints.

    Reports of earlier and later versions do: what they do not hold is None. Raises ValueError when it is no report.
    """
    try:
        return _record_of(report, controller)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not the report of a run: {type(error).__name__}: {error}") from None


def _record_of(report: Mapping[str, Any], controller: str | None) -> RunRecord:
    restore = report.get("restore") or {}
    recovery = report.get("recovery") or {}
    objectives = {one["name"]: one for one in report.get("objectives") or ()}
    metrics = metrics_of(report)
    if metrics["lost_requests"] is None:
        # Reports from before `recovery.lost_requests` say it in words only.
        said = str(objectives.get("lost requests", {}).get("measured", ""))
        metrics["lost_requests"] = float(said) if said.isdecimal() else None
    return RunRecord(
        run_id=str(report["run_id"]),
        inventory=str(report["inventory"]),
        playbook=str(report["playbook"]),
        environment=str(report.get("environment", "")),
        verdict=str(report["verdict"]),
        exit_code=_whole(report.get("exit_code")),
        started_at=moment(report["started_at"]),
        finished_at=moment(report["finished_at"]),
        changed=restore.get("verdict") != "nothing to restore",
        comparable=_comparable(report, objectives),
        reason=report.get("reason"),
        drillctl_version=report.get("drillctl_version"),
        controller=controller,
        uncertainty=_number(recovery.get("uncertainty_seconds")),
        recovery_time_limit=_number(recovery.get("rto_seconds")),
        lost_requests_limit=_limit(objectives.get("lost requests")),
        restore_failed_limit=_limit(objectives.get("failed during restore")),
        **metrics,
    )


def metrics_of(report: Mapping[str, Any]) -> dict[str, float | None]:
    """Return every metric of a report (or of as much of one as there is) by name; None: not measured."""
    recovery, traffic, restore = (report.get(part) or {} for part in ("recovery", "traffic", "restore"))
    found = {
        "recovery_time": recovery.get("outage_seconds"),
        "detection": recovery.get("detection_seconds"),
        "switch": recovery.get("switch_seconds"),
        "answer": recovery.get("answer_seconds"),
        "lost_requests": recovery.get("lost_requests"),
        "wrong_answers": traffic.get("wrong") if traffic.get("sent") else None,
        "restore_failed": restore.get("failed_requests"),
        "restore_time": restore.get("seconds"),
        "latency_p50": traffic.get("p50_seconds"),
        "latency_p99": traffic.get("p99_seconds"),
        "duration": report.get("seconds"),
    }
    return {name: _number(value) for name, value in found.items()}


def moment(said: str) -> datetime:
    """Return a time in ISO 8601, in UTC where it names no timezone. Raises ValueError."""
    found = datetime.fromisoformat(said)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _comparable(report: Mapping[str, Any], objectives: Mapping[str, Mapping[str, Any]]) -> bool:
    """Tell whether later runs may be compared with this one.

    A run that only lacked a history to be compared with counts too: otherwise no history would ever come about. One
    that something else cut short does not, whatever its objectives say.
    """
    if report["verdict"] == "passed":
        return True
    if report["verdict"] != "inconclusive" or report.get("reason") is not None:
        return False
    met = {name: one["met"] for name, one in objectives.items()}
    others = [value for name, value in met.items() if not name.startswith(REGRESSION)]
    unknown = any(value is None for name, value in met.items() if name.startswith(REGRESSION))
    return bool(others) and all(others) and unknown


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _limit(objective: Mapping[str, Any] | None) -> float | None:
    """Return the number of a rule like `≤ 5`."""
    found = re.match(r"≤ (\d+(?:\.\d+)?)", str(objective["rule"])) if objective else None
    return float(found[1]) if found else None


def _plain(value: object) -> object:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
