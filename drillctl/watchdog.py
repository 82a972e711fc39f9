"""Watching a run for its stop conditions, from threads of their own: the first one that holds stops it.

One thread looks at the clock and at the clients' requests five times a second. Another asks the standby's servers
for their health, from the gateway's host, once a second from `arm` on; between fault and switch it is quiet, because
then hosts have nothing to do but that.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

from drillctl import survey
from drillctl.errors import DrillctlError
from drillctl.faults import Fault
from drillctl.stop import Requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.inventory import Host
    from drillctl.playbook import Playbook
    from drillctl.run import Run

LOOK_EVERY = 0.2
"""Seconds between two looks at the requests."""

ASK_EVERY = 1.0
"""Seconds between two questions to the standby."""

ASK_TIMEOUT = 2.0


def asks_standby(playbook: Playbook) -> bool:
    """Tell whether a standby that is not healthy stops a drill: not where a fault strikes it, or the way to ask."""
    return not any(
        isinstance(step, Fault) and (step.on_gateway or step.zone in {"standby", "both"}) for step in playbook.steps
    )


class Watchdog:
    """Watches from entering a `with` block until leaving it, or until the run restores."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._plan = run.playbook.stop
        self._done = threading.Event()
        self._quiet = threading.Event()
        self._requests = Requests(self._plan, run.playbook.traffic.rate)
        self._seen = 0
        self._failures: dict[str, int] = {}
        self._spared = not asks_standby(run.playbook)

    def __enter__(self) -> Self:
        """Begin to watch."""
        for name, look, every in (("requests", self.look, LOOK_EVERY), ("standby", self.ask_standby, ASK_EVERY)):
            thread = threading.Thread(target=self._watch, args=(look, every), name=f"watchdog {name}", daemon=True)
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End to watch. The threads are not waited for: the restore must not wait for a question under way."""
        self._done.set()

    def quiet(self, wanted: bool) -> None:
        """Leave hosts alone while it matters that they do nothing else."""
        (self._quiet.set if wanted else self._quiet.clear)()

    def look(self) -> str | None:
        """Return which stop condition the clock or the clients' requests fulfil; None if none."""
        now = time.monotonic()
        box = self._plan.time_box_seconds
        if now - self._run.began > box:
            return f"the time box: {box:g} s have gone by and nothing is restored yet"
        traffic, moments = self._run.traffic, self._run.moments
        began = None if traffic is None else traffic.marks.get("baseline")
        if traffic is None or began is None:
            return None
        ended = traffic.ended_since(self._seen)
        self._seen += len(ended)
        self._requests.feed(ended, moments.broken, moments.active)
        return self._requests.exceeded(now, began)

    def ask_standby(self) -> str | None:
        """Ask the standby's servers once; return the stop condition when one was not healthy often enough in a row."""
        if self._spared or self._quiet.is_set() or self._run.staged is None:
            return None
        for host in self._run.inventory.zone("standby").hosts:
            wrong = self._unhealthy(host)
            failures = self._failures.get(host.name, 0) + 1 if wrong else 0
            self._failures[host.name] = failures
            if failures >= self._plan.standby_failures:
                return f"an unhealthy standby, {failures} times in a row: {host.name}: {wrong}"
        return None

    def _unhealthy(self, host: Host) -> str | None:
        """Return what is wrong with a host's server; None when it is ready."""
        fleet, _ = self._run.live()
        path = self._run.inventory.service.paths.health
        try:
            reply = survey.ask(self._run.inventory, fleet, host, path, timeout=ASK_TIMEOUT)
        except DrillctlError as error:
            return error.message
        health = survey.read_health(reply)
        return None if health.ready else str(health)

    def _watch(self, look: Callable[[], str | None], every: float) -> None:
        while not self._done.wait(every):
            if self._run.section == "restore":
                return
            try:
                why = look()
            except Exception as error:  # noqa: BLE001 - a watch that ends unseen would let everything pass
                why = f"a bug in drillctl while it watched: {type(error).__name__}: {error}"
            # What comes out once the block was left is too late to count.
            if why is not None and not self._done.is_set():
                self._run.stop(f"a stop condition: {why}")
                return
