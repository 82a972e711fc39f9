"""start: start the servers that are not running, and wait until each is ready."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from drillctl import survey
from drillctl.errors import HostError
from drillctl.hosts.fleet import each
from drillctl.undo import Undo

if TYPE_CHECKING:
    from drillctl.inventory import Host
    from drillctl.run import Run


def carry_out(run: Run) -> None:
    """Make every server run and be ready. Raises HostError when one does not get ready in time."""
    each(run.zone_hosts(), lambda host: _start(run, host))


def _start(run: Run, host: Host) -> None:
    service = run.services[host.name]
    state = service.state()
    if state.held:
        raise HostError(
            f"an earlier drill still keeps {state.detail} from being restarted",
            host=host.name,
            hint="it ended before it could put this back: run `drillctl recover`, then try again",
        )
    undo = None if state.running else Undo("service.stop", host.name, "stop the server that the drill started")
    with run.step("start", host.name, undo) as done:
        begun = time.monotonic()
        if undo is not None:
            service.start()
            run.findings.started.append(host.name)
        wait_ready(run, host, run.playbook.start.ready_seconds)
        seconds = time.monotonic() - begun
        done.detail = f"started, ready after {seconds:.1f} s" if undo else f"was running ({state.detail}), ready"


def wait_ready(run: Run, host: Host, within: float) -> None:
    """Wait until a host's health is 200. Raises HostError, with the end of the server's log, when it does not come.

    A server that has ended is not waited for; one that its supervisor is about to start again is, to the end.
    """
    service = run.services[host.name]
    begun = time.monotonic()
    last, came, absent, gone = "it was not asked", False, False, 0

    def decided() -> bool:
        """Ask once; true when it is ready, says that it failed, or is gone."""
        nonlocal last, came, absent, gone
        health = _health(run, host)
        if health is not None:
            last, came, absent, gone = str(health), health.ready, False, 0
            return came or health.health == "failed"
        state = service.state()
        absent = not state.running
        # Gone counts when seen twice, because state and processes are not seen in one moment.
        gone = gone + 1 if absent and not state.coming else 0
        last = "the server ended" if gone else state.detail if absent else "the server does not answer"
        return gone >= 2

    run.wait_until(decided, within, every=0.2)
    if came:
        return
    if absent:
        words = [line.strip() for line in service.last_words().splitlines() if line.strip()]
        last += "; its log: " + " / ".join(words[-3:])
    raise HostError(
        f"not ready after {time.monotonic() - begun:.1f} s: {last}",
        host=host.name,
        hint="look at the server's log there",
    )


def _health(run: Run, host: Host) -> survey.Health | None:
    """Return what a host's server says of its health; None when it does not answer."""
    fleet, _ = run.live()
    try:
        reply = survey.ask(run.inventory, fleet, host, run.inventory.service.paths.health, timeout=2.0)
    except HostError:
        return None
    return survey.read_health(reply)
