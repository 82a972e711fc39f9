"""connect: log in to every host, in parallel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.gateway.nginx import NginxGateway
from drillctl.hosts import fleet as fleets
from drillctl.hosts.service import manager_of

if TYPE_CHECKING:
    from drillctl.run import Run


def carry_out(run: Run) -> None:
    """Log in everywhere. Raises the HostError of the hosts that cannot be reached; changes nothing."""
    with run.step("connect") as done:
        run.fleet = fleets.connect(run.inventory)
        run.gateway = NginxGateway(run.inventory, run.fleet.transports, run.run_id)
        for host in run.zone_hosts():
            run.services[host.name] = manager_of(run.inventory, host, run.fleet[host])
        done.detail = f"{len(run.fleet.transports)} hosts, every host key known"
