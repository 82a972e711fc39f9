"""Putting everything back: the restore steps of the playbook, then whatever undo is still outstanding.

It always runs, whatever went before, goes on when a part of it fails, and checks before it acts: the gateway is never
pointed at a zone that does not answer. What could not be put back is said, by host, with what to do.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from drillctl import snapshot
from drillctl.errors import DrillctlError, GatewayError, HostError, Inconclusive
from drillctl.guard import orders
from drillctl.language import ActionStep, FailbackStep, HealStep, ObserveStep, ProbeStep, VerifyStep
from drillctl.steps import custom, golden, heal, start, verify
from drillctl.steps.switch import wait_for_zone
from drillctl.undo import ON_ZONES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from drillctl.inventory import Zone
    from drillctl.playbook import RestoreStep
    from drillctl.run import Run
    from drillctl.undo import Undo


PROOF = 5.0
"""Seconds at most for which the look of a proof that is under way is awaited before things are put back."""

CALM = 1.0
"""Seconds without a failed request that are awaited before clients are sent back."""

PATIENCE = 5.0
"""Seconds after which clients are sent back although some of their requests still fail: that may be the cure."""

LOGIN = 3.0
"""Seconds for which hosts whose connection was lost are awaited before the others are put back."""


def carry_out(run: Run, *, stop_started: bool) -> None:
    """Put everything back; what could not be is in `run.findings.left`, a bug in one part of it included.

    `stop_started`: also stop the servers that the drill started.
    """
    run.section = "restore"
    run.given_up.set()
    run.interrupt.restoring()
    run.journal.needed = False
    run.moments.restore_began = time.monotonic()
    if run.guards is not None:
        run.guards.quiet(False)
    away: set[str] = set()
    others: set[str] = set()
    with _going_on(run, "logging in again"):
        away = _reconnect(run)
    with _going_on(run, "proofs under way"):
        _await_proofs(run)
    with _going_on(run, "asking who holds the hosts"):
        others = _leave_to_others(run)
    disturbed = bool(run.outstanding.of(*ON_ZONES, "gateway.restore"))
    if disturbed:
        for step in run.playbook.restore:
            # What a user's own step touches is not known; it must not be in another drill's way.
            if not others or not isinstance(step, ProbeStep | ActionStep):
                _attempt(run, step)
    with _going_on(run, "traffic"):
        _finish_traffic(run)
    with _going_on(run, "logging in again"):
        _reconnect(run, but=away)
    with _going_on(run, "disarm"):
        _disarm(run, stop_started=stop_started, gateway_is_ours=others.isdisjoint(_gateways(run)))
    with _going_on(run, "leases"):
        _release(run)


def keep(run: Run) -> None:
    """End a switch that is to stay: nothing of it is put back, and nothing that could put it back is left."""
    run.section = "restore"
    run.interrupt.restoring()
    run.journal.needed = False
    run.moments.restore_began = time.monotonic()
    _finish_traffic(run)
    for undo in run.outstanding:
        try:
            if undo.kind == "gateway.discard":
                _undo(run, undo, stop_started=False)
            else:
                run.undone(undo)
        except DrillctlError as error:
            run.findings.left.append(f"{undo.words} could not be struck out: {error}")
    with run.step("keep") as done:
        zone = run.inventory.zone("standby").name
        done.detail = f"the gateway stays on {zone}"
        try:
            now = run.live()[1].read().configured_zone
        except DrillctlError as error:
            done.status, done.detail = "failed", str(error)
            run.findings.left.append(f"the gateway's config could not be read again: {error}")
        else:
            if now != zone:
                done.status, done.detail = "failed", f"the gateway is configured for {now or 'no single zone'}"
                run.findings.left.append(done.detail)
    run.findings.kept = not run.findings.left
    if run.guards is not None and run.findings.kept:
        try:
            run.guards.release()
        except DrillctlError as error:
            run.findings.left.append(f"the lease could not be given back: {error}")


@contextlib.contextmanager
def _going_on(run: Run, what: str) -> Iterator[None]:
    """Note what a part of the restore raises, whatever it is: the other parts must still be put back."""
    try:
        yield
    except BaseException as error:  # noqa: BLE001 - a library may even ask to exit, as rich does without a reader
        run.findings.left.append(f"{what}: {said(error)}")


def _attempt(run: Run, step: RestoreStep) -> None:
    before = len(run.findings.left)
    with _going_on(run, step.step):
        if isinstance(step, HealStep):
            heal.carry_out(run, step)
        elif isinstance(step, VerifyStep):
            _verify(run, step)
        elif isinstance(step, ObserveStep):
            with run.step("observe") as done:
                run.interrupt.sleep(step.seconds)
                done.detail = f"{step.seconds:g} s went by"
        elif not isinstance(step, FailbackStep):
            custom.carry_out(run, step)
        else:
            _failback(run, step)
    if len(run.findings.left) > before:
        with _going_on(run, "saying so"):
            run.watcher.note(f"{step.step} failed; what else can be put back is put back")


def said(error: BaseException) -> str:
    """Return what an error says; one that is none of ours is a bug."""
    return str(error) if isinstance(error, DrillctlError) else f"a bug in drillctl, {type(error).__name__}: {error}"


def _reconnect(run: Run, *, but: Collection[str] = ()) -> set[str]:
    """Log in again where the connection was lost: an sshd that was restarted must not leave a host as it is.

    Returns the hosts that cannot be reached; those in `but` are known to be away, and not waited for.
    """
    if run.fleet is None:
        return set()
    fleet, away = run.fleet, {*run.away, *but}
    gone = [n for n, t in fleet.transports.items() if n not in away and (n in fleet.lost or not t.connected)]
    found = fleet.reconnect(gone, LOGIN)
    for host, back in found.items():
        run.watcher.note(f"{host}: {'logged in again' if back else 'cannot be reached; its guard undoes by itself'}")
    return {host for host, back in found.items() if not back}


def _gateways(run: Run) -> set[str]:
    return {host.name for host in run.inventory.gateway.hosts}


def _leave_to_others(run: Run) -> set[str]:
    """Strike out what would be undone on hosts that another run holds by now, and say so; return those hosts.

    A guard gives its host to another run only when it has undone everything there, or was told to forget it.
    """
    others = {held.host: held for held in run.guards.taken()} if run.guards is not None else {}
    for name, held in others.items():
        run.findings.left.append(
            f"{name}: {held.run}, by {held.owner}, holds it since {held.since}: nothing was touched there; "
            "its guard had undone what this run did, or was told to forget it"
        )
    for undo in run.outstanding:
        concerned = {undo.host} if undo.host else _gateways(run)
        if not concerned.isdisjoint(others):
            run.outstanding.done(undo)
            run.journal.undone(undo)
    return set(others)


def _await_proofs(run: Run) -> None:
    """Give up proofs that are under way, and wait for the look that each is at: clients may be out meanwhile.

    A host that does not answer a look is not waited for: no look changes anything.
    """
    deadline = time.monotonic() + PROOF
    for proof in run.proofs:
        with contextlib.suppress(TimeoutError):
            proof.exception(timeout=max(0.0, deadline - time.monotonic()))
    run.proofs.clear()


def _failback(run: Run, step: FailbackStep) -> None:
    """Put the original config back, if the primary answers; otherwise leave the standby serving and say so."""
    undos = run.outstanding.of("gateway.restore")
    if not undos:
        return
    if run.original is None:
        raise GatewayError(
            "the gateway's original config was not kept in the run's folder",
            hint=f"put {run.inventory.gateway.config} back by hand, and reload",
        )
    _, gateway = run.live()
    primary = run.inventory.zone("primary")
    with run.step("failback", ", ".join(h.name for h in run.inventory.gateway.hosts)) as done:
        _check_primary(run, primary)
        _await_calm(run)
        ours = [host.sha256 for host in run.staged.hosts] if run.staged else []
        activation = gateway.restore(run.original, over=ours)
        gateway.prove_applied(activation, step.within_seconds)
        seen = _see_answer(run, primary.name, step.within_seconds)
        for undo in undos:
            run.undone(undo)
        run.serving = "primary"
        done.detail = f"{primary.name} answers{seen}; the config has its original bytes"


def _see_answer(run: Run, zone: str, within: float) -> str:
    """See that clients are answered by a zone; return how, in words, if not by their own requests.

    Clients whose process died do not keep the drill from ending: one question is asked in their place. Raises
    GatewayError or Inconclusive when the zone does not answer.
    """
    if run.traffic is None:
        return ""
    try:
        wait_for_zone(run, zone, within)
    except Inconclusive:
        if not run.traffic.dead:
            raise
        golden.through_gateway(run, zone, most=1)
        return " a request of drillctl's own"
    return ""


def _verify(run: Run, step: VerifyStep) -> None:
    """Verify, as far as there are clients to do it with: what is not proven for want of them is still put back."""
    if run.traffic is None:
        return
    try:
        verify.carry_out(run, step)
    except Inconclusive:
        if not run.traffic.dead:
            raise


def _await_calm(run: Run) -> None:
    """Wait for a moment in which no request fails: a zone that was just healed may have left the other one breathless.

    Not when nobody is served at all, nor when somebody wants an end of the drill.
    """
    deadline = time.monotonic() + PATIENCE
    while run.traffic is not None and not run.interrupt.asked and time.monotonic() < deadline:
        probes = run.traffic.probes(time.monotonic() - CALM)
        if not any(probe.failed for probe in probes) or not any(probe.ok for probe in probes):
            return
        run.interrupt.sleep(0.1)


def _check_primary(run: Run, primary: Zone) -> None:
    """Raise GatewayError unless every server of the primary is healed and answers: else clients are better off now."""
    why = ""
    own = {host.name for host in primary.hosts}
    if broken := {undo.host for undo in run.outstanding.of(*ON_ZONES) if undo.host in own}:
        why = f"{', '.join(sorted(broken))} is not healed"
    for host in primary.hosts:
        if host.name not in run.services:  # it was out of reach from the beginning, and given up
            why = f"{host.name} was out of reach"
            continue
        try:
            start.wait_ready(run, host, 5.0)
        except HostError as error:
            why = str(error)
    if why:
        raise GatewayError(
            f"the gateway stays on the standby, because {primary.name} is not fit to serve: {why}",
            state="clients are served by the standby",
            hint="bring the primary back, then run `drillctl recover`",
        )


def _finish_traffic(run: Run) -> None:
    """Stop the clients. What they saw is kept whatever happens."""
    if run.traffic is None:
        return
    run.moments.traffic_ended = time.monotonic()
    try:
        run.findings.probes = run.traffic.stop()
        if run.traffic.record_fault is not None:
            run.findings.not_proven.append(f"the record of the traffic is not complete: {run.traffic.record_fault}")
    except DrillctlError as error:
        run.findings.probes = run.traffic.probes()
        run.findings.cut_short_at = max((probe.done for probe in run.findings.probes), default=0.0)
        run.findings.not_proven.append(f"what clients saw to the end: {error}")
        run.watcher.note(str(error))
    finally:
        run.traffic.close()


def _disarm(run: Run, *, stop_started: bool, gateway_is_ours: bool) -> None:
    """Remove staged files, stop what the drill started where that is wanted, and prove that the config is as it was.

    A gateway that another run holds has that one's config.
    """
    if run.fleet is None:
        return
    for undo in run.outstanding:
        with _going_on(run, undo.words):
            _undo(run, undo, stop_started=stop_started)
    if not run.findings.left:
        run.findings.left += [f"{undo.words} ({undo.host or 'gateway'})" for undo in run.outstanding]
    if run.gateway is None or run.original is None or not gateway_is_ours:
        return
    with run.step("disarm") as done:
        try:
            now = run.gateway.read()
        except DrillctlError as error:
            run.findings.config_identical = None
            run.findings.left.append(f"the gateway's config could not be read again: {error}")
            done.status, done.detail = "failed", str(error)
            return
        snapshot.keep_after(run.folder, now)
        before = {(c.host, c.resolved, c.content, c.mode, c.owner, c.choice) for c in run.original.hosts}
        after = {(c.host, c.resolved, c.content, c.mode, c.owner, c.choice) for c in now.hosts}
        run.findings.config_identical = before == after
        if before != after:
            run.findings.left.append("the gateway's config is not the one from before the drill")
            done.status, done.detail = "failed", "the gateway's config differs from before"
        else:
            done.detail = "gateway config identical byte for byte, nothing staged"


def _release(run: Run) -> None:
    """Give the leases back once everything is put back; otherwise the guards keep what they hold, and go on trying."""
    if run.guards is None:
        return
    put_back = run.original is None or run.findings.config_identical is True
    if len(run.outstanding) or not put_back:
        run.watcher.note("the guards keep what is outstanding, and try to put it back once their leases run out")
        return
    try:
        run.guards.release()
    except DrillctlError as error:
        run.findings.left.append(f"the lease could not be given back: {error}")


def _undo(run: Run, undo: Undo, *, stop_started: bool) -> None:
    """Carry out one outstanding undo that no restore step takes care of."""
    if undo.kind == "gateway.discard":
        if run.staged is not None and run.gateway is not None:
            run.gateway.discard(run.staged)
        elif run.guards is not None:
            # Killed or failed while it was staged: where the files lie, only the guard knows.
            run.guards.undo_held(undo.kind, orders.hosts_of(run.inventory, undo))
        run.undone(undo)
    elif undo.kind == "service.stop":
        if stop_started:
            with run.step("stop", undo.host) as done:
                run.services[undo.host].stop()
                done.detail = "stopped again: it was not running before"
        run.undone(undo)
