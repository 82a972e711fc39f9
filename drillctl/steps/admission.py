"""admission: the gates that are decided on this machine. While one is closed, no host is spoken to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl import gates
from drillctl.errors import NotStarted

if TYPE_CHECKING:
    from drillctl.run import Run


def carry_out(run: Run) -> None:
    """Pass every gate, or say of each that is closed why. Raises NotStarted, with when they open."""
    for gate in run.findings.gates:
        with run.step(gate.name) as done:
            done.detail = gate.found
            if gate.overridden:
                done.detail += f"; OVERRIDDEN: {gate.overridden}"
            elif gate.passed is None:
                done.status = "skipped"
            elif not gate.passed:
                done.status = "refused"
                done.detail += f"; {gate.opens}" if gate.opens else ""
    refused = gates.refusal(run.findings.gates)
    if refused is not None:
        why, hint = refused
        raise NotStarted(why, hint=hint, state="nothing was changed")
