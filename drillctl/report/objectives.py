"""The objectives of a playbook, each with its rule and what was measured (pure)."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from drillctl.faults import Fault
from drillctl.history import regression
from drillctl.language import DetectStep, VerifyStep
from drillctl.steps.detect import rule_of
from drillctl.traffic.detection import Rule, false_alarms
from drillctl.traffic.outage import NoOutage, NotRecovered, Outage, count
from drillctl.verdict import Objective

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drillctl.compare.equality import Equality
    from drillctl.run import Fallback, Run


def objectives_of(
    run: Run,
    measured: Outage | NoOutage | NotRecovered | None,
    wrong: int | None,
    during_restore: int | None,
    metrics: Mapping[str, float | None],
    *,
    still_out: bool = False,
) -> tuple[Objective, ...]:
    """Return every objective; `met` is None where it could not be measured.

    `wrong` counts good answers with other content than the baseline's, `during_restore` failed requests; `metrics` are
    the run's figures by the names that regressions use. `still_out`: the drill broke off before clients had recovered.
    """
    wanted = run.playbook.objectives
    found: list[Objective] = []
    if wanted.rto_seconds is not None:
        found.append(_recovery(wanted.rto_seconds, measured))
    if wanted.lost_requests is not None:
        found.append(_lost(run, wanted.lost_requests))
    found += _detections(run, measured)
    if wanted.fallback_seconds is not None:
        found.append(_fallback(run.findings.fallback, wanted.fallback_seconds))
    if not run.force:
        found += _answers(run)
        found.append(_under_load(wrong))
    if wanted.restore_failed_requests is not None:
        found.append(_restore(run, during_restore, wanted.restore_failed_requests, still_out=still_out))
    found.append(_kept(run) if run.keep else _config(run.findings.config_identical))
    found += regression.objectives(wanted.regressions, metrics, run.findings.past)
    return tuple(found)


def reference(run: Run) -> float | None:
    """Return the moment from which on clients could notice something: the fault, else the switch; None without either.

    A fault that was not proven is none.
    """
    if run.moments.fault_began is not None:
        return run.moments.fault_began if run.moments.fault_proven is not None else None
    return run.moments.switch_began


def _recovery(rto: float, measured: Outage | NoOutage | NotRecovered | None) -> Objective:
    """Judge the recovery time by its worst case: the measurement plus its error."""
    rule = f"≤ {rto:g} s"
    if isinstance(measured, Outage):
        worst = measured.seconds + measured.uncertainty
        return Objective("recovery time", rule, measured.words, met=worst <= rto)
    if isinstance(measured, NoOutage):
        if measured.uncertainty > rto:
            said = f"no request was lost, but an outage of up to {measured.uncertainty:.2f} s may have passed unseen"
            return Objective("recovery time", rule, said, met=None)
        served = measured.standby_since is not None
        return Objective("recovery time", rule, "no request was lost", met=True if served else None)
    if isinstance(measured, NotRecovered):
        return Objective("recovery time", rule, measured.reason, met=False)
    return Objective("recovery time", rule, "not measured", met=None)


def lost_requests(run: Run) -> int | None:
    """Count the requests that failed from the fault until the restore; None where that was not measured."""
    began, until = reference(run), run.moments.outage_until or run.moments.restore_began
    if began is None or until is None or not run.findings.probes:
        return None
    # A request that was due then may have been on its way for as long as its timeout.
    cut = run.findings.cut_short_at
    if cut is not None and cut < until + run.playbook.traffic.timeout_seconds:
        return None
    # What was in flight when the fault struck belongs to it, hence by the end and not by the beginning.
    return count([probe for probe in run.findings.probes if probe.done >= began], until=until).failed


def _lost(run: Run, allowed: int) -> Objective:
    lost = lost_requests(run)
    if lost is None:
        return Objective("lost requests", f"≤ {allowed}", "not measured", met=None)
    return Objective("lost requests", f"≤ {allowed}", str(lost), met=lost <= allowed)


def _detections(run: Run, measured: Outage | NoOutage | NotRecovered | None) -> list[Objective]:
    """Judge how soon it was noticed, and that nothing was noticed where there was nothing."""
    wanted, found = run.playbook.objectives, []
    steps = [step for step in run.playbook.steps if isinstance(step, DetectStep)]
    if wanted.detection_seconds is not None:
        detection = run.findings.detection
        seconds = None
        if detection is not None:
            # The row or window that detected may have begun after failures between good answers. One that was slow
            # counts from the beginning of its row: to the outage it is no failure.
            outage = (measured.first_failed,) if isinstance(measured, Outage | NotRecovered) else ()
            seconds = detection.at - min((detection.first_failed, *outage))
        found.append(
            Objective(
                "detection",
                f"≤ {wanted.detection_seconds:g} s after the first failure",
                "not detected" if seconds is None else f"{seconds:.2f} s",
                met=None if seconds is None else seconds <= wanted.detection_seconds,
            )
        )
    for step in steps:
        if step.expect == "nothing":
            alarm = run.findings.not_expected
            found.append(
                Objective(
                    "no false alarm",
                    f"nothing detected within {step.within_seconds:g} s",
                    "nothing" if alarm is None else alarm.evidence,
                    met=alarm is None if _proven(run) or not _strikes(run) else None,
                )
            )
    if wanted.false_alarms is not None:
        before = run.moments.fault_began or run.moments.switch_began or run.moments.restore_began or float("inf")
        probes = [probe for probe in run.findings.probes if probe.done < before]
        rule = rule_of(steps[0], run.playbook) if steps else Rule(slow=run.playbook.traffic.slow_seconds)
        count = false_alarms(probes, rule) if probes else None
        met = None if count is None else count <= wanted.false_alarms
        found.append(Objective("false alarms", f"≤ {wanted.false_alarms}", _or_not(count), met=met))
    return found


def _proven(run: Run) -> bool:
    """Tell whether the fault was proven: the one that clients were to notice, if there was one."""
    moments = run.moments
    return (moments.other_proven if moments.fault_began is None else moments.fault_proven) is not None


def _strikes(run: Run) -> bool:
    return any(isinstance(step, Fault) for step in run.playbook.steps)


def _fallback(found: Fallback | None, limit: float) -> Objective:
    rule = f"503 with its JSON within {limit:g} s, every time"
    if found is None:
        return Objective("fallback answer", rule, "not seen", met=None)
    return Objective(
        "fallback answer", rule, f"{found.answers} times, slowest {found.slowest:.2f} s", met=found.slowest <= limit
    )


def _answers(run: Run) -> list[Objective]:
    """Judge the outputs of the zone that the steps verify: the standby's, else the primary's after the fault."""
    exact = run.playbook.objectives.outputs == "exact"
    verified = {step.zone for step in run.playbook.steps if isinstance(step, VerifyStep)}
    if "standby" in verified:
        return [_outputs("standby answers as the primary did", run.findings.standby_serving, exact)]
    verified |= {step.zone for step in run.playbook.restore if isinstance(step, VerifyStep)}
    return [_outputs("answers as before", run.findings.primary_restored, exact)] if "primary" in verified else []


def _or_not(number: int | None) -> str:
    return "not measured" if number is None else str(number)


def _outputs(rule: str, result: Equality | None, exact: bool) -> Objective:
    rule += ", byte for byte" if exact else ", within tolerance"
    if result is None:
        return Objective("outputs", rule, "not compared", met=None)
    return Objective("outputs", rule, f"{result.identical} of {result.compared} identical", met=result.equal)


def _under_load(wrong: int | None) -> Objective:
    rule = "0 answers to clients differ"
    return Objective(
        "outputs under load",
        rule,
        _or_not(wrong),
        met=None if wrong is None else wrong == 0,
    )


def restore_failures(run: Run) -> int | None:
    """Count what failed while things were put back; None without a whole record, or after an unproven fault."""
    found = run.findings
    if run.moments.restore_began is None or not found.probes or found.cut_short_at is not None:
        return None
    return None if reference(run) is None else count(found.probes, run.moments.restore_began).failed


def recovered(measured: Outage | NoOutage | NotRecovered | None) -> bool:
    """Tell whether clients were served as they should be when the measurement ended."""
    return isinstance(measured, Outage) or (isinstance(measured, NoOutage) and measured.standby_since is not None)


def _restore(run: Run, failed: int | None, allowed: int, *, still_out: bool) -> Objective:
    name, rule = "failed during restore", f"≤ {allowed}"
    if failed is not None and failed > allowed and still_out:
        # What breaks a zone, and breaks off then, leaves it to the restore to end the outage.
        return Objective(name, rule, f"{failed}, but clients were still out when it began", met=None)
    measured = _or_not(failed) + (_in_steps(run) if failed else "")
    return Objective(name, rule, measured, met=None if failed is None else failed <= allowed)


def _in_steps(run: Run) -> str:
    """Return in which steps of the restore requests failed, and how: both say where to look.

    A step lasts until the next one begins, and the first one counts from the moment in which the restore began.
    """
    steps = sorted((record.started, record.name) for record in run.records if record.section == "restore")
    bounds = [run.moments.restore_began or 0.0, *(run.began + started for started, _ in steps[1:]), float("inf")]
    lost: dict[str, Counter[str]] = {}
    for (_, name), (since, until) in zip(steps, pairwise(bounds), strict=False):
        lost.setdefault(name, Counter()).update(count(run.findings.probes, since, until).kinds)
    said = ", ".join(f"{kinds.total()} in {name} ({_kinds(kinds)})" for name, kinds in lost.items() if kinds)
    return f": {said}" if said else ""


def _kinds(kinds: Counter[str]) -> str:
    if len(kinds) == 1:
        return next(iter(kinds))
    return ", ".join(f"{number} × {kind}" for kind, number in kinds.most_common())


def _kept(run: Run) -> Objective:
    """Judge a switch that was to stay; one that was put back after all was missed."""
    zone = run.inventory.zone("standby").name
    return Objective(
        "gateway", f"stays on {zone}", f"on {zone}" if run.findings.kept else "put back", met=run.findings.kept
    )


def _config(identical: bool | None) -> Objective:
    measured = {True: "identical", False: "DIFFERENT", None: "not read"}[identical]
    return Objective("gateway config", "as before, byte for byte", measured, met=identical)
