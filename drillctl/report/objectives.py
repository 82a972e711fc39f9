"""The objectives of a playbook, each with its rule and what was measured (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.history import regression
from drillctl.traffic.outage import NoOutage, NotRecovered, Outage, count
from drillctl.verdict import Objective

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drillctl.compare.equality import Equality
    from drillctl.run import Run


def objectives_of(
    run: Run,
    measured: Outage | NoOutage | NotRecovered | None,
    wrong: int | None,
    during_restore: int | None,
    metrics: Mapping[str, float | None],
) -> tuple[Objective, ...]:
    """Return every objective; `met` is None where it could not be measured.

    `wrong` counts good answers with other content than the baseline's, `during_restore` failed requests; `metrics` are
    the run's figures by the names that regressions use.
    """
    wanted = run.playbook.objectives
    found = [_recovery(wanted.rto_seconds, measured)]
    if wanted.lost_requests is not None:
        found.append(_lost(run, wanted.lost_requests))
    found += [
        _outputs(run.findings.standby_serving, wanted.outputs == "exact"),
        _under_load(wrong),
        _restore(during_restore, wanted.restore_failed_requests),
        _config(run.findings.config_identical),
        *regression.objectives(wanted.regressions, metrics, run.findings.past),
    ]
    return tuple(found)


def _recovery(rto: float, measured: Outage | NoOutage | NotRecovered | None) -> Objective:
    """Judge the recovery time by its worst case: the measurement plus its error."""
    rule = f"≤ {rto:g} s"
    if isinstance(measured, Outage):
        worst = measured.seconds + measured.uncertainty
        said = f"{measured.seconds:.2f} s ± {measured.uncertainty:.2f} s"
        return Objective("recovery time", rule, said, met=worst <= rto)
    if isinstance(measured, NoOutage):
        served = measured.standby_since is not None
        return Objective("recovery time", rule, "no request was lost", met=True if served else None)
    if isinstance(measured, NotRecovered):
        return Objective("recovery time", rule, measured.reason, met=False)
    return Objective("recovery time", rule, "not measured", met=None)


def lost_requests(run: Run) -> int | None:
    """Count the requests that failed from the fault until the restore; None where that was not measured."""
    began, until = run.moments.fault_began, run.moments.restore_began
    if began is None or until is None or run.moments.fault_proven is None or not run.findings.probes:
        return None
    # What was in flight when the fault struck belongs to it, hence by the end and not by the beginning.
    return count([probe for probe in run.findings.probes if probe.done >= began], until=until).failed


def _lost(run: Run, allowed: int) -> Objective:
    lost = lost_requests(run)
    if lost is None:
        return Objective("lost requests", f"≤ {allowed}", "not measured", met=None)
    return Objective("lost requests", f"≤ {allowed}", str(lost), met=lost <= allowed)


def _outputs(result: Equality | None, exact: bool) -> Objective:
    rule = "standby answers as the primary did" + (", byte for byte" if exact else ", within tolerance")
    if result is None:
        return Objective("outputs", rule, "not compared", met=None)
    return Objective("outputs", rule, f"{result.identical} of {result.compared} identical", met=result.equal)


def _under_load(wrong: int | None) -> Objective:
    rule = "0 answers to clients differ"
    return Objective(
        "outputs under load",
        rule,
        "not measured" if wrong is None else str(wrong),
        met=None if wrong is None else wrong == 0,
    )


def _restore(failed: int | None, allowed: int) -> Objective:
    measured = "not measured" if failed is None else str(failed)
    return Objective(
        "failed during restore", f"≤ {allowed}", measured, met=None if failed is None else failed <= allowed
    )


def _config(identical: bool | None) -> Objective:
    measured = {True: "identical", False: "DIFFERENT", None: "not read"}[identical]
    return Objective("gateway config", "as before, byte for byte", measured, met=identical)
