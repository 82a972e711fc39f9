"""fault: break the primary, and prove on its hosts that it is broken."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from drillctl.errors import Inconclusive
from drillctl.hosts.fleet import each
from drillctl.undo import Undo

if TYPE_CHECKING:
    from drillctl.inventory import Host
    from drillctl.playbook import FaultStep
    from drillctl.run import Run


def carry_out(run: Run, step: FaultStep) -> None:
    """Kill every process of the zone's service. Raises Inconclusive when it is not proven that they are gone."""
    hosts = run.inventory.zone(step.zone).hosts
    run.moments.fault_began = time.monotonic()
    each(hosts, lambda host: _kill(run, host))
    run.moments.fault_proven = time.monotonic()


def _kill(run: Run, host: Host) -> None:
    undo = Undo("service.revive", host.name, "let the supervisor work again and start the server")
    with run.step("fault", host.name, undo) as done:
        killed = run.services[host.name].kill()
        run.findings.kills[host.name] = killed
        if not killed.pids:
            raise Inconclusive("the kill hit nothing: there was no process of the service", host=host.name)
        if not killed.proven:
            still = f"pids {', '.join(map(str, killed.remaining))} live" if killed.remaining else "its port is open"
            raise Inconclusive(f"the fault is not proven: {still} after SIGKILL", host=host.name)
        pids = ", ".join(map(str, killed.pids))
        done.detail = f"SIGKILL to pid {pids}: gone, port {run.inventory.port(host)} closed"


def prove_still_dead(run: Run) -> None:
    """Prove that no supervisor brought the killed servers back. Raises Inconclusive when one did."""

    def check(host: Host) -> None:
        state = run.services[host.name].state()
        if state.running:
            raise Inconclusive(f"the killed server is back ({state.detail}): the fault did not last", host=host.name)

    each([host for host in run.zone_hosts() if host.name in run.findings.kills], check)
