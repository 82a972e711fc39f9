"""arm: stage and test the standby's gateway config beside the live one, and keep the original bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl import snapshot
from drillctl.steps import switch
from drillctl.undo import Undo

if TYPE_CHECKING:
    from drillctl.run import Run


def carry_out(run: Run) -> None:
    """Stage the config. Raises GatewayError when it cannot be edited or its test fails; nothing is left then."""
    _, gateway = run.live()
    undo = Undo("gateway.discard", "", "remove the staged config", {"run": run.run_id})
    run.places = gateway.places()
    with run.step("arm", ", ".join(h.name for h in run.inventory.gateway.hosts), undo) as done:
        run.original = gateway.read()
        snapshot.keep_original(run.folder, run.original)
        run.staged = gateway.stage(run.inventory.zone("standby").name)
        snapshot.keep_staged(run.folder, run.staged)
        # The switch's undo as well: between the fault and the new config there is no time for a round trip.
        run.guard(switch.undo_of(run.original))
        run.findings.config_diff = run.staged.hosts[0].diff
        lines = sum(line.startswith(("+", "-")) for line in run.findings.config_diff.splitlines()[2:])
        done.detail = f"staged and tested; {lines} lines differ"
