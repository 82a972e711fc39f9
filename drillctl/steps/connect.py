"""connect: log in to every host, in parallel, and take the lease on each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.gateway.kinds import gateway_of
from drillctl.guard.guards import Guards
from drillctl.hosts import fleet as fleets
from drillctl.hosts.service import manager_of

if TYPE_CHECKING:
    from drillctl.hosts.fleet import Fleet
    from drillctl.run import Run


def carry_out(run: Run) -> None:
    """Log in everywhere and take the leases; from then on a guard on each host undoes if drillctl vanishes.

    Raises the HostError of the hosts that cannot be reached, and Held when another drill has a lease.
    """
    with run.step("connect") as done:
        run.fleet, gone = _login(run)
        run.gateway = gateway_of(run.inventory, run.fleet.transports, run.run_id)
        for host in (host for zone in run.inventory.zones for host in zone.hosts):
            if host.name in run.fleet.transports:
                run.services[host.name] = manager_of(run.inventory, host, run.fleet[host])
        guards = Guards(run.inventory, run.fleet, run.run_id, run.playbook.guard.ttl_seconds)
        guards.acquire(again=len(run.outstanding) > 0)
        guards.start_beats(run.lost)
        run.guards = guards
        done.detail = f"{len(run.fleet.transports)} hosts, every host key known; the lease is ours on each"
        if gone:
            done.detail += f"; out of reach: {', '.join(gone)}"


def _login(run: Run) -> tuple[Fleet, list[str]]:
    """Log in everywhere; hosts of a zone that is given up may be out of reach. Raises HostError for all others."""
    if not run.force:
        return fleets.connect(run.inventory), []
    fleet, errors = fleets.connect_all(run.inventory)
    given_up = {host.name for host in run.inventory.zone("primary").hosts}
    if needed := [error for name, error in errors.items() if name not in given_up]:
        fleet.close()
        raise fleets.joined(needed)
    run.findings.not_proven += [f"the state of {name}, which is out of reach: {e}" for name, e in errors.items()]
    return fleet, list(errors)
