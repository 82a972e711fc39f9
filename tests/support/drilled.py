"""A run that has been drilled up to its restore: staged, killed, switched; without clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.faults import KINDS
from drillctl.steps import arm, fault
from drillctl.undo import Undo

if TYPE_CHECKING:
    from drillctl.run import Run


def drilled(run: Run) -> Run:
    """Do what a drill does up to its restore: stage, kill, switch; without clients."""
    arm.carry_out(run)
    run.section = "steps"
    fault.carry_out(run, KINDS["kill"](step="fault"))
    _, gateway = run.live()
    assert run.staged is not None
    undo = Undo("gateway.restore", "", "put the original gateway config back")
    with run.step("switch", "gateway", undo):
        gateway.activate(run.staged)
    assert gateway.read().configured_zone == "zone-b"
    return run
