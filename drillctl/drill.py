"""The drill: carries out a playbook phase by phase, and puts everything back whatever happens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from drillctl import restore
from drillctl.errors import Aborted, DrillctlError, Inconclusive
from drillctl.faults import Fault
from drillctl.language import (
    ActionStep,
    DetectStep,
    FallbackStep,
    ObserveStep,
    ProbeStep,
    StartStep,
    SwitchStep,
    VerifyStep,
)
from drillctl.steps import (
    admission,
    arm,
    connect,
    custom,
    detect,
    fallback,
    fault,
    heal,
    start,
    steady_state,
    switch,
    traffic,
    verify,
)
from drillctl.watchdog import Watchdog

if TYPE_CHECKING:
    from drillctl.playbook import Step
    from drillctl.run import Run


@dataclass(frozen=True)
class Ending:
    """How a drill ended: `refused` by a gate, `aborted` by a person, or with the `error` that cut it short."""

    refused: bool = False
    aborted: bool = False
    error: DrillctlError | None = None


def carry_out(run: Run) -> Ending:
    """Carry out the run's playbook: gates, steps, restore. What went wrong is in the ending, not raised.

    A bug in drillctl is raised after everything was put back.
    """
    ending, came_to_its_end = Ending(), False
    try:
        with Watchdog(run) as watchdog:
            _gates(run)
            run.section = "steps"
            run.journal.record("steps")
            for step in run.playbook.steps:
                run.interrupt.check()
                _step(run, step, watchdog)
            fault.gather(run)
            run.interrupt.check()
        came_to_its_end = True
    except Aborted as error:
        ending = Ending(aborted=True, error=error)
    except DrillctlError as error:
        if run.interrupt.asked:
            # What fails while it stops is not why it stops.
            ending = Ending(aborted=True, error=Aborted(f"{run.interrupt.reason}; meanwhile: {error}"))
        else:
            ending = Ending(refused=run.section == "before", error=error)
    finally:
        _put_back(run, came_to_its_end=came_to_its_end)
    if ending.error is None and run.guards is not None and run.guards.ended:
        ending = Ending(error=_lease_ended(run.guards.ended))
    return ending


def _lease_ended(hosts: set[str]) -> Inconclusive:
    """Return why a drill proves nothing whose lease ended before it did."""
    return Inconclusive(
        f"the lease on {', '.join(sorted(hosts))} ended before the drill did",
        state="everything is put back, but a guard or a person had a hand in it, and what was measured may show that",
        hint="find out who broke the lease, or what kept this machine from renewing it, and drill again",
    )


def _gates(run: Run) -> None:
    """Do everything that comes before the fault; what raises here is a refusal, and no client has noticed."""
    phases = (
        admission.carry_out,
        connect.carry_out,
        steady_state.check_config,
        start.carry_out,
        steady_state.carry_out,
        custom.check,
        fault.check,
        arm.carry_out,
        traffic.carry_out,
    )
    for phase in phases:
        run.interrupt.check()
        phase(run)
    run.interrupt.check()


def _step(run: Run, step: Step, watchdog: Watchdog) -> None:
    # From the fault to the switch, hosts have nothing to do but that.
    quiet = isinstance(step, Fault | DetectStep | SwitchStep)
    watchdog.quiet(quiet)
    if run.guards is not None:
        run.guards.quiet(quiet)
    match step:
        case Fault():
            fault.carry_out(run, step)
        case DetectStep():
            detect.carry_out(run, step)
        case SwitchStep():
            switch.carry_out(run, step)
        case VerifyStep():
            verify.carry_out(run, step)
        case FallbackStep():
            fallback.carry_out(run, step)
        case StartStep():
            heal.start_zone(run, step)
        case ObserveStep():
            with run.step("observe") as done:
                run.interrupt.sleep(step.seconds)
                done.detail = f"{step.seconds:g} s went by"
        case ProbeStep() | ActionStep():
            custom.carry_out(run, step)


def _put_back(run: Run, *, came_to_its_end: bool) -> None:
    """Restore. Servers that the drill started stay up after a drill that came to its end, as the playbook says."""
    try:
        if run.keep and came_to_its_end:
            restore.keep(run)
        else:
            restore.carry_out(run, stop_started=not came_to_its_end or run.playbook.start.stop_after)
    except BaseException as error:
        # The journal must not say of a restore that broke off that nothing is left.
        run.findings.left.append(f"the restore broke off: {restore.said(error)}")
        raise
    finally:
        if run.traffic is not None:
            run.traffic.close()
        if run.guards is not None:
            run.guards.close()
        if run.fleet is not None:
            run.fleet.close()
        run.journal.record("restored", left=run.findings.left)
