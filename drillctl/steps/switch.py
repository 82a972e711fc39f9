"""switch: put the staged config in place, reload, and prove that the gateway serves by it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from drillctl.errors import GatewayError
from drillctl.undo import Undo

if TYPE_CHECKING:
    from drillctl.gateway.gateway import GatewayConfig
    from drillctl.language import SwitchStep
    from drillctl.run import Run


def carry_out(run: Run, step: SwitchStep) -> None:
    """Switch. Raises GatewayError when it is not applied, or the standby does not answer through it in time."""
    _, gateway = run.live()
    zone = run.inventory.zone(step.to).name
    if run.staged is None or run.original is None:
        raise GatewayError("no config is staged", state="nothing was switched")
    undo = undo_of(run.original)
    run.moments.switch_began = time.monotonic()
    with run.step("switch", ", ".join(undo.arguments), undo) as done:
        activation = gateway.activate(run.staged)
        run.moments.active = time.monotonic()
        run.listening(lambda: gateway.prove_applied(activation, step.within_seconds))
        run.serving = step.to
        wait_for_zone(run, zone, step.within_seconds)
        reloaded = any(host.reloaded for host in activation.hosts)
        # Hosts tell their uptime to 10 ms.
        seconds = max(host.switch_seconds for host in activation.hosts) + (0.0 if reloaded else 0.01)
        how = "rename and reload took {:.0f} ms, new workers serve" if reloaded else "the switch took at most {:.0f} ms"
        done.detail = f"{zone} answers; {how.format(seconds * 1000)}"


def undo_of(original: GatewayConfig) -> Undo:
    """Return the undo of a switch."""
    hashes = {config.host: config.sha256 for config in original.hosts}
    return Undo("gateway.restore", "", "put the original gateway config back", hashes)


def wait_for_zone(run: Run, zone: str, within: float) -> None:
    """Wait until a request sent from now on is answered by a zone. Raises GatewayError when none is in time."""
    since = time.monotonic()
    deadline = since + within
    while True:
        run.interrupt.check()
        left = deadline - time.monotonic()
        if left <= 0:
            raise GatewayError(
                f"the config is in place, but {zone} answered no request within {within:g} s",
                hint="look at the gateway's error log and at the zone's servers",
            )
        found = run.sending().wait_for(
            lambda probes: any(probe.ok and probe.zone == zone for probe in probes), min(left, 0.5), since
        )
        if found:
            return
