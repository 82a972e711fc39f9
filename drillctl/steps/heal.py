"""heal: undo the faults of a host, and see that its server answers as it did before."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from drillctl.errors import HostError, LoginRefused, Unreachable
from drillctl.guard import orders
from drillctl.hosts.fleet import each
from drillctl.steps import golden, start
from drillctl.undo import ON_ZONES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drillctl.inventory import Host
    from drillctl.language import HealStep, StartStep
    from drillctl.run import Run


def carry_out(run: Run, step: HealStep) -> None:
    """Heal every host on which something is outstanding. Raises HostError when one does not get well."""
    heal(run, run.inventory.hosts, step.ready_seconds, "heal")


def start_zone(run: Run, step: StartStep) -> None:
    """Heal one zone in the middle of a drill, and note how long its servers took: a cold start.

    Clients may be without an answer meanwhile, so its outputs are compared by `verify`, after the switch.
    """
    hosts = run.inventory.zone(step.zone).hosts
    heal(run, hosts, step.ready_seconds, step.name or "start", compare=False)


def heal(run: Run, hosts: Iterable[Host], ready_seconds: float, step: str, *, compare: bool = True) -> None:
    """Undo what is outstanding on hosts, in parallel. Raises HostError when one does not get well in time.

    `compare`: also when one does not answer the golden images as before.
    """
    wanted = {undo.host for undo in run.outstanding.of(*ON_ZONES)}
    healed = {host.name: host for host in hosts if host.name in wanted}
    each(healed.values(), lambda host: _heal(run, host, ready_seconds, step, compare=compare))
    # What was healed is not looked for any more; the next fault of such a host may be another one.
    run.findings.struck[:] = [struck for struck in run.findings.struck if struck.place.host.name not in healed]


def _heal(run: Run, host: Host, ready_seconds: float, step: str, *, compare: bool) -> None:
    undos = [undo for undo in run.outstanding.of(*ON_ZONES) if undo.host == host.name]
    with run.step(step, host.name) as done:
        begun = time.monotonic()
        if host.name in run.away:
            _come_back(run, host, ready_seconds)
        for undo in undos:
            run.undo(undo)
        if host.name in run.services:
            start.wait_ready(run, host, ready_seconds)
            seconds = time.monotonic() - begun
            run.findings.cold_starts[host.name] = seconds
            done.detail = f"running again, ready after {seconds:.1f} s"
            if compare and run.findings.baseline:
                result = golden.equality(run, golden.of_host(run, host))
                done.detail += f"; {golden.in_words(result)}"
                if not result.equal:
                    raise HostError("the revived server does not answer as before", host=host.name)
        else:
            done.detail = ", ".join(undo.words for undo in undos)
        for undo in undos:
            run.undone(undo)


def _come_back(run: Run, host: Host, seconds: float) -> None:
    """Wait until a host that went away can be reached again, and take its lease again. Raises HostError."""
    fleet, _ = run.live()
    deadline = time.monotonic() + seconds
    while True:
        try:
            fleet[host].reconnect()
            break
        except (Unreachable, LoginRefused):  # an sshd that has just started may not let anybody in yet
            if time.monotonic() > deadline:
                raise
            run.interrupt.sleep(0.5)
    if run.guards is not None:
        run.guards.rejoin(host.name, orders.memory(run.inventory, host) if run.inventory.zone_of(host.name) else b"")
    run.away.discard(host.name)
