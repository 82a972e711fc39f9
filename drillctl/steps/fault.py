"""fault: break what the playbook says, and prove on its hosts that it is broken."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import replace
from threading import Lock, Thread
from typing import TYPE_CHECKING

from drillctl.errors import Inconclusive, NotStarted
from drillctl.faults import Fault
from drillctl.hosts.fleet import each
from drillctl.run import Struck

if TYPE_CHECKING:
    from drillctl.inventory import Host, Inventory
    from drillctl.run import Run


WITHOUT_PROGRAMS = ("kill", "stop")
"""Faults that need no more than what drills need anyway (docs/privileges.md)."""


def hosts_of(inventory: Inventory, fault: Fault) -> tuple[Host, ...]:
    """Return the hosts that a fault strikes."""
    if fault.on_gateway:
        return inventory.gateway.hosts
    if fault.zone == "both":
        return (*inventory.zone("primary").hosts, *inventory.zone("standby").hosts)
    return inventory.zone(fault.zone).hosts


def check(run: Run) -> None:
    """See that every fault of the playbook can be injected on its hosts. Raises NotStarted or HostError."""
    faults = [step for step in run.playbook.steps if isinstance(step, Fault)]
    if not faults:
        return
    with run.step("faults") as done:
        for fault in faults:
            for host in hosts_of(run.inventory, fault):
                if refusal := without_programs(run.inventory, host, fault):
                    raise refusal
            each(hosts_of(run.inventory, fault), lambda host, fault=fault: fault.check(run.place(host)))  # type: ignore[misc]
        done.detail = ", ".join(_word(fault) for fault in faults) + " can be injected"


def without_programs(inventory: Inventory, host: Host, fault: Fault) -> NotStarted | None:
    """Return why a host refuses a fault where only installed programs run as root; None if it has those (pure)."""
    if inventory.login(host).by != "installed" or _word(fault) in (*WITHOUT_PROGRAMS, *inventory.faults):
        return None
    hint = f"say `faults: [{_word(fault)}]` in the inventory, and run `drillctl privileges install-script` there again"
    return NotStarted(
        f"`{_word(fault)}` runs as root, and its programs are not installed there",
        host=host.name,
        hint="it is for hosts with `ssh: {privileges: sudo}`" if _word(fault) == "command" else hint,
        state="nothing was changed",
    )


def carry_out(run: Run, fault: Fault) -> None:
    """Strike. Raises Inconclusive when it is not proven that it took effect.

    A proof that takes seconds is awaited by `gather`, so that clients' detection and the switch do not wait for it.
    """
    began = time.monotonic()
    hosts = hosts_of(run.inventory, fault)
    proven = _Proven(run, {host.name for host in hosts})
    if fault.on_gateway or fault.zone in ("both", run.serving):
        if run.moments.fault_began is None:
            run.moments.fault_began = began
            proven.for_clients = True
        else:
            run.moments.outage_until = run.moments.outage_until or began
    each(hosts, lambda host: _strike(run, fault, host, proven))


class _Proven:
    """The hosts on which one fault is yet to be proven; when there is none any more, that moment is noted."""

    def __init__(self, run: Run, hosts: set[str]) -> None:
        self.for_clients = False
        """Whether it is the fault that clients were to notice; the proof of another says nothing of that one."""
        self._run = run
        self._open = hosts
        self._lock = Lock()

    def on(self, host: str) -> None:
        """Hear that it is proven on a host."""
        with self._lock:
            self._open.discard(host)
            if self._open:
                return
        moments, now = self._run.moments, time.monotonic()
        if self.for_clients:
            moments.fault_proven = now
        else:
            moments.other_proven = moments.other_proven or now


def gather(run: Run) -> None:
    """Wait for the proofs that are still awaited. Raises Inconclusive when one of them is none."""
    while run.proofs:
        # It stays until it is done: what ends this early must wait for it before hosts are put back.
        proof = run.proofs[0]
        while not proof.done():
            run.interrupt.check()
            time.sleep(0.05)
        proof.result()
        run.proofs.remove(proof)


def still_struck(run: Run) -> None:
    """Prove that every fault has lasted until now. Raises Inconclusive when something has undone one."""
    outstanding = {undo.host for undo in run.outstanding}
    lasting = [s for s in run.findings.struck if s.fault.lasts and s.place.host.name in outstanding]
    for struck in lasting:
        if struck.place.host.name not in run.away:
            struck.fault.still(struck.place)


def _strike(run: Run, fault: Fault, host: Host, proven: _Proven) -> None:
    place = run.place(host)
    if fault.reboots:
        run.away.add(host.name)
        if run.guards is not None:
            run.guards.expect_silence(host.name)
    with run.step(fault.name or "fault", host.name, *fault.undos(place)) as done:
        said = fault.inject(place)
        struck = Struck(fault, place)
        run.findings.struck.append(struck)
        if fault.slow_to_prove:
            run.proofs.append(_later(run, struck, said, proven))
            done.detail = f"{_word(fault)}: injected, to be proven"
        else:
            done.detail = fault.prove(place, said)
            _note(run, struck, done.detail)
            proven.on(host.name)


def _later(run: Run, struck: Struck, said: str, proven: _Proven) -> Future[None]:
    """Prove in a thread of its own."""
    future: Future[None] = Future()

    def prove() -> None:
        try:
            with run.step("proof", struck.place.host.name) as done:
                done.detail = struck.fault.prove(struck.place, said)
                _note(run, struck, done.detail)
            proven.on(struck.place.host.name)
            future.set_result(None)
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            future.set_exception(error)

    Thread(target=prove, name=f"proof {struck.place.host.name}", daemon=True).start()
    return future


def _note(run: Run, struck: Struck, evidence: str) -> None:
    if not evidence:
        raise Inconclusive("the fault was injected without any evidence", host=struck.place.host.name)
    # It may have been healed while it was being proven, and is not looked for any more then.
    for place, known in enumerate(run.findings.struck):
        if known is struck:
            run.findings.struck[place] = replace(struck, evidence=evidence)


def _word(fault: Fault) -> str:
    return str(getattr(fault, "fault", "fault"))
