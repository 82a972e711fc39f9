"""The report of a run as data: what `--json` prints and every rendering shows, made from a finished run (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from drillctl import __version__
from drillctl import gates as all_gates
from drillctl.compare.equality import digest
from drillctl.errors import ConnectionLost, Inconclusive
from drillctl.history.record import metrics_of
from drillctl.report.context import Context, context_of
from drillctl.report.document import Document
from drillctl.report.follow_ups import follow_ups_of
from drillctl.report.objectives import lost_requests, objectives_of, recovered, reference, restore_failures
from drillctl.report.timeline import Timeline, timeline_of
from drillctl.traffic.outage import Counts, NoOutage, NotRecovered, Outage, Parts, count, measure_outage, split
from drillctl.verdict import EXIT_CODES, Objective, Verdict, judge, meaning

if TYPE_CHECKING:
    from drillctl.compare.equality import Equality
    from drillctl.drill import Ending
    from drillctl.run import Run

SCHEMA_VERSION = 1


class Recovery(Document):
    """The outage and its parts, in seconds; None: not measured, or there was none.

    detection + switch + answer = outage: from the first failed request until the failures were noticed, until the new
    config was in place and reloaded, until the first sustained good request. `lost_requests`: failed from the fault
    until the restore began.
    """

    rto_seconds: float | None
    outage_seconds: float | None = None
    uncertainty_seconds: float | None = None
    detection_seconds: float | None = None
    switch_seconds: float | None = None
    answer_seconds: float | None = None
    lost_requests: int | None = None
    said: str = "not measured"


class TrafficCounts(Document):
    """Requests over the whole run. `wrong` are good answers of other content than the baseline's; None without one."""

    rate: float
    sent: int = 0
    ok: int = 0
    failed: int = 0
    slow: int = 0
    missed: int = 0
    wrong: int | None = None
    by_zone: dict[str, int] = {}
    kinds: dict[str, int] = {}
    p50_seconds: float | None = None
    p99_seconds: float | None = None
    lag_max_seconds: float | None = None


class EqualityCounts(Document):
    """The standby's answers through the gateway, compared with the primary's from before the fault.

    `score_difference` is the largest one found, `noise_floor` the primary's from itself; None when the rule is exact.
    """

    rule: str
    compared: int = 0
    identical: int = 0
    score_difference: float = 0.0
    noise_floor: float | None = None
    different: list[dict[str, str]] = []


class ModelIdentity(Document):
    """The pinned hash, and by zone and host the hash on disk and as loaded."""

    expected_sha256: str
    zones: dict[str, dict[str, dict[str, str | None]]] = {}
    differences: list[dict[str, str]] = []


class Restore(Document):
    """Whether everything was put back. `left` is what was not, in words."""

    verdict: Literal["complete", "incomplete", "kept", "nothing to restore"]
    failed_requests: int | None
    config_identical: bool | None
    seconds: float | None
    left: list[str]


class GateResult(Document):
    """A gate: what it asks for, what was found, and whether it was passed (None: not reached).

    `overridden` is the reason of the person who overrode it; None: nobody did.
    """

    name: str
    rule: str
    found: str
    passed: bool | None
    overridden: str | None


class ObjectiveResult(Document):
    """An objective with its measurement."""

    name: str
    rule: str
    measured: str
    met: bool | None


class StepResult(Document):
    """A step on a host; `started` is in seconds from the beginning of the run."""

    name: str
    host: str
    section: str
    status: str
    started: float
    seconds: float
    detail: str


class Report(Document):
    """The whole report."""

    schema_version: int = SCHEMA_VERSION
    drillctl_version: str = __version__
    run_id: str
    playbook: str
    description: str
    inventory: str
    environment: str
    verdict: Verdict
    meaning: str
    reason: str | None
    hint: str | None
    exit_code: int
    started_at: str
    finished_at: str
    seconds: float
    recovery: Recovery
    traffic: TrafficCounts
    equality: EqualityCounts
    model: ModelIdentity
    restore: Restore
    gates: list[GateResult] = []
    objectives: list[ObjectiveResult]
    not_proven: list[str]
    deviations: list[str]
    steps: list[StepResult]
    config_diff: str
    folder: str
    timeline: Timeline = Timeline()
    context: Context = Context()
    config_diffs: dict[str, str] = {}
    follow_ups: list[str] = []


def make_report(run: Run, ending: Ending, started_at: str, finished_at: str, seconds: float) -> Report:
    """Return the report of a run that has ended."""
    # A drill that was stopped was not given the time to recover: nothing of that is measured.
    # Nor was one that broke off for what says nothing of the service.
    broke_off = isinstance(ending.error, Inconclusive | ConnectionLost)
    seen = None if ending.aborted else _measure(run)
    measured = None if _too_early(run, seen, broke_off=broke_off) else seen
    counts = count(run.findings.probes, slow=run.playbook.traffic.slow_seconds)
    wrong = _wrong_answers(run)
    during_restore = restore_failures(run)
    still_out = broke_off and not recovered(seen)
    judged = not (ending.refused or ending.aborted)
    recovery, traffic, restore = _recovery(run, measured), _traffic(run, counts, wrong), _restore(run, during_restore)
    parts = {"recovery": recovery.model_dump(), "traffic": traffic.model_dump(), "restore": restore.model_dump()}
    metrics = metrics_of({**parts, "seconds": seconds})
    objectives = objectives_of(run, measured, wrong, during_restore, metrics, still_out=still_out) if judged else ()
    if judged and ending.error is not None and not broke_off:
        objectives = (Objective("steps", "every step succeeds", str(ending.error), met=False), *objectives)
    verdict = judge(
        objectives,
        changed=run.changed,
        restored=not run.findings.left,
        aborted=ending.aborted,
        refused=ending.refused,
        broke=ending.error is not None or run.findings.cut_short_at is not None,
    )
    report = Report(
        run_id=run.run_id,
        playbook=run.playbook.name,
        description=run.playbook.description,
        inventory=run.inventory.name,
        environment=run.inventory.environment,
        verdict=verdict,
        meaning=meaning(verdict, run.inventory.zone("standby").name if run.findings.kept else None),
        reason=str(ending.error) if ending.error else None,
        hint=ending.error.hint if ending.error else None,
        exit_code=EXIT_CODES[verdict],
        started_at=started_at,
        finished_at=finished_at,
        seconds=round(seconds, 3),
        recovery=recovery,
        traffic=traffic,
        equality=_equality(run, run.findings.standby_serving or run.findings.standby_before),
        model=_model(run),
        restore=restore,
        gates=[_gate(gate) for gate in (*run.findings.gates, *all_gates.of_steps(run.playbook, run.records))],
        objectives=[ObjectiveResult(name=o.name, rule=o.rule, measured=o.measured, met=o.met) for o in objectives],
        not_proven=run.findings.not_proven,
        deviations=[
            *(f"{g.name} overridden ({g.overridden}): {g.found}" for g in run.findings.gates if g.overridden),
            *(f"{host}: the server was not running; the drill started it" for host in run.findings.started),
        ],
        steps=[
            StepResult(
                name=record.name,
                host=record.host,
                section=record.section,
                status=record.status,
                started=round(record.started, 3),
                seconds=round(record.seconds, 3),
                detail=record.detail,
            )
            for record in sorted(run.records, key=lambda record: record.started)
        ],
        config_diff=run.findings.config_diff,
        folder=str(run.folder),
        timeline=timeline_of(run, measured),
        context=context_of(run),
        config_diffs={host.host: host.diff for host in run.staged.hosts} if run.staged else {},
    )
    return report.model_copy(update={"follow_ups": follow_ups_of(report)})


def _gate(gate: all_gates.Gate) -> GateResult:
    return GateResult(
        name=gate.name, rule=gate.rule, found=gate.found, passed=gate.passed, overridden=gate.overridden or None
    )


def _measure(run: Run) -> Outage | NoOutage | NotRecovered | None:
    """Measure the outage from all probes up to the next one or the restore; None without fault, switch or traffic."""
    began = reference(run)
    if began is None or not run.findings.probes:
        return None
    until = run.moments.outage_until or run.moments.restore_began or float("inf")
    plan = run.playbook.traffic
    return measure_outage(
        [probe for probe in run.findings.probes if probe.scheduled < until],
        began,
        run.inventory.zone(run.playbook.expects.serving).name,
        1 / plan.rate,
        min(1.0, plan.observation_seconds / 2),
        until,
    )


def _too_early(run: Run, seen: Outage | NoOutage | NotRecovered | None, *, broke_off: bool) -> bool:
    """Tell whether a drill, or the record of its requests, broke off while there was still time to recover."""
    if not isinstance(seen, NotRecovered) or not (broke_off or run.findings.cut_short_at is not None):
        return False
    rto, until = run.playbook.objectives.rto_seconds, run.moments.outage_until or run.moments.restore_began
    last = max(p.scheduled for p in run.findings.probes if until is None or p.scheduled < until)
    return rto is None or last < seen.first_failed + rto


def _parts(run: Run, outage: Outage) -> Parts:
    return split(outage.first_failed, run.moments.detected, run.moments.active, outage)


def _recovery(run: Run, measured: Outage | NoOutage | NotRecovered | None) -> Recovery:
    rto = run.playbook.objectives.rto_seconds
    lost = None if measured is None else lost_requests(run)
    if isinstance(measured, Outage):
        parts = _parts(run, measured)
        return Recovery(
            rto_seconds=rto,
            outage_seconds=round(measured.seconds, 4),
            uncertainty_seconds=round(measured.uncertainty, 4),
            detection_seconds=_rounded(parts.detection),
            switch_seconds=_rounded(parts.switch),
            answer_seconds=_rounded(parts.answer),
            lost_requests=lost,
            said=f"{measured.words}, {measured.losses}",
        )
    if isinstance(measured, NoOutage):
        return Recovery(
            rto_seconds=rto,
            outage_seconds=0.0,
            uncertainty_seconds=_rounded(measured.uncertainty),
            lost_requests=lost,
            said="no request was lost",
        )
    if isinstance(measured, NotRecovered):
        return Recovery(rto_seconds=rto, lost_requests=lost, said=f"not recovered: {measured.reason}")
    return Recovery(rto_seconds=rto)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def _wrong_answers(run: Run) -> int | None:
    """Count good answers to clients whose content is neither the baseline's nor one that was accepted as equal to it.

    None without a baseline or traffic.
    """
    if not run.findings.baseline or not run.findings.probes:
        return None
    accepted = run.findings.accepted
    right = {image: {digest(body), *accepted.get(image, ())} for image, body in run.findings.baseline.items()}
    return sum(probe.ok and probe.digest not in right.get(probe.image, ()) for probe in run.findings.probes)


def _traffic(run: Run, counts: Counts, wrong: int | None) -> TrafficCounts:
    lag = run.traffic.lag if run.traffic else None
    return TrafficCounts(
        rate=run.playbook.traffic.rate,
        sent=counts.sent,
        ok=counts.ok,
        failed=counts.failed,
        slow=counts.slow,
        missed=counts.missed,
        wrong=wrong,
        by_zone=dict(counts.by_zone),
        kinds=dict(counts.kinds),
        p50_seconds=_rounded(counts.latency.p50),
        p99_seconds=_rounded(counts.latency.p99),
        lag_max_seconds=_rounded(lag.max) if lag else None,
    )


def _equality(run: Run, result: Equality | None) -> EqualityCounts:
    outputs = run.playbook.objectives.outputs
    rule = "exact" if outputs == "exact" else f"scores within {outputs.score_abs:g}"
    if result is None:
        return EqualityCounts(rule=rule)
    return EqualityCounts(
        rule=rule,
        compared=result.compared,
        identical=result.identical,
        score_difference=result.score_difference,
        noise_floor=run.findings.noise,
        different=[
            {"image": d.image, "what": d.what, "baseline": d.baseline, "other": d.other} for d in result.different
        ],
    )


def _model(run: Run) -> ModelIdentity:
    zones: dict[str, dict[str, dict[str, str | None]]] = {}
    for found in run.findings.surveys.values():
        hashes = {"sha256_disk": found.sha256_disk, "sha256_loaded": found.sha256_loaded}
        zones.setdefault(found.zone, {})[found.name] = hashes
    return ModelIdentity(
        expected_sha256=run.inventory.service.model.sha256,
        zones=zones,
        differences=[
            {
                "key": d.key,
                "primary": d.primary,
                "standby": d.standby,
                "changes_outputs": d.changes_outputs,
                "why": d.why,
            }
            for d in run.findings.identity
        ],
    )


def _restored(run: Run) -> Literal["complete", "incomplete", "kept", "nothing to restore"]:
    if run.findings.left:
        return "incomplete"
    if run.findings.kept:
        return "kept"
    return "complete" if run.changed else "nothing to restore"


def _restore(run: Run, failures: int | None) -> Restore:
    began = run.moments.restore_began
    ended = run.moments.traffic_ended
    left = run.findings.left
    return Restore(
        verdict=_restored(run),
        failed_requests=failures,
        config_identical=run.findings.config_identical,
        seconds=_rounded(ended - began) if began is not None and ended is not None else None,
        left=left,
    )
