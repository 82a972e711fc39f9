"""One execution of a playbook: what it works with, what it has done so far, and what it has found out."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from drillctl.errors import DrillctlError
from drillctl.guard import orders
from drillctl.undo import Outstanding, Undo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from drillctl.compare.equality import Equality
    from drillctl.compare.identity import Difference
    from drillctl.gateway.gateway import Gateway, GatewayConfig, Staged
    from drillctl.guard.guards import Guards
    from drillctl.guard.lease import Order
    from drillctl.hosts.fleet import Fleet
    from drillctl.hosts.service import Killed, ServiceManager
    from drillctl.interrupt import Interrupt
    from drillctl.inventory import Host, Inventory
    from drillctl.journal import Journal
    from drillctl.plan import Section
    from drillctl.playbook import Playbook
    from drillctl.survey import HostSurvey
    from drillctl.traffic.detection import Detection
    from drillctl.traffic.probe import Probe
    from drillctl.traffic.stream import Traffic

Status = Literal["ok", "failed", "refused", "skipped"]


@dataclass(frozen=True)
class StepRecord:
    """How one step ended on one host (or on none in particular: an empty name); times in seconds."""

    name: str
    host: str
    section: Section
    status: Status
    started: float
    seconds: float
    detail: str


class Watcher(Protocol):
    """Who is told how the run goes on."""

    def begun(self, name: str, host: str) -> None:
        """Hear that a step begins."""

    def ended(self, record: StepRecord) -> None:
        """Hear how a step ended."""

    def note(self, text: str) -> None:
        """Hear something worth a line."""


@dataclass
class Moments:
    """When things happened, in seconds of the monotonic clock; None: not yet."""

    fault_began: float | None = None
    fault_proven: float | None = None
    detected: float | None = None
    switch_began: float | None = None
    active: float | None = None
    restore_began: float | None = None
    traffic_ended: float | None = None


@dataclass
class Findings:
    """What the run found out, for verdict and report."""

    surveys: dict[str, HostSurvey] = field(default_factory=dict)
    identity: tuple[Difference, ...] = ()
    not_proven: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    baseline: Mapping[str, bytes] = field(default_factory=dict)
    noise: float | None = None
    standby_before: Equality | None = None
    standby_serving: Equality | None = None
    primary_restored: Equality | None = None
    kills: dict[str, Killed] = field(default_factory=dict)
    detection: Detection | None = None
    config_diff: str = ""
    config_identical: bool | None = None
    probes: list[Probe] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def _in_words(error: BaseException, host: str) -> str:
    """Return what an error says, without the host that stands beside it anyway."""
    if not isinstance(error, DrillctlError):
        return f"{type(error).__name__}: {error}"
    return error.message if error.host == host else str(error)


class Outcome:
    """What a step says of itself when it is done."""

    def __init__(self) -> None:
        self.detail = ""
        self.status: Status = "ok"


class Run:
    """Everything that the steps of one run share."""

    def __init__(
        self,
        *,
        run_id: str,
        folder: Path,
        inventory: Inventory,
        playbook: Playbook,
        journal: Journal,
        interrupt: Interrupt,
        watcher: Watcher,
        outstanding: Outstanding | None = None,
    ) -> None:
        self.run_id = run_id
        self.folder = folder
        self.inventory = inventory
        self.playbook = playbook
        self.journal = journal
        self.interrupt = interrupt
        self.watcher = watcher
        self.began = time.monotonic()
        self.section: Section = "before"
        self.records: list[StepRecord] = []
        self.outstanding = Outstanding() if outstanding is None else outstanding
        self.moments = Moments()
        self.findings = Findings()
        self.fleet: Fleet | None = None
        self.gateway: Gateway | None = None
        self.guards: Guards | None = None
        self.services: dict[str, ServiceManager] = {}
        self.places: Mapping[str, tuple[str, ...]] = {}
        self.original: GatewayConfig | None = None
        self.staged: Staged | None = None
        self.traffic: Traffic | None = None
        self.changed = False
        self._lock = threading.Lock()

    @contextmanager
    def step(self, name: str, host: str = "", undo: Undo | None = None) -> Iterator[Outcome]:
        """Do one step on one host: journal its intent, have its guard hold the undo, act, journal the outcome.

        What it raises is recorded and goes on. May be used from several threads at once.
        """
        with self._lock:
            self.journal.intent(name, host, undo)
            if undo is not None:
                self.outstanding.add(undo)
                self.changed = True
            self.watcher.begun(name, host)
        begun = time.monotonic()
        outcome = Outcome()
        try:
            if self.guards is not None and self.section != "restore":
                self.guards.check()
                if undo is not None:
                    self.guard(undo)
            yield outcome
        except BaseException as error:
            outcome.status = "failed" if self.section != "before" else "refused"
            outcome.detail = _in_words(error, host)
            raise
        finally:
            seconds = time.monotonic() - begun
            record = StepRecord(name, host, self.section, outcome.status, begun - self.began, seconds, outcome.detail)
            with self._lock:
                self.journal.outcome(name, host, outcome.status, seconds, outcome.detail)
                self.records.append(record)
                self.watcher.ended(record)

    def guard(self, undo: Undo) -> None:
        """Have the guards of its hosts hold an undo. Raises HostError when one does not: nothing may be changed."""
        if self.guards is not None:
            self.guards.register(self._orders(undo))

    def undone(self, undo: Undo) -> None:
        """Strike out an undo, journal it, and tell the guards. Raises HostError when a guard cannot be told."""
        with self._lock:
            self.outstanding.done(undo)
            self.journal.undone(undo)
        if self.guards is not None:
            self.guards.strike(undo.kind, orders.hosts_of(self.inventory, undo))

    def _orders(self, undo: Undo) -> dict[str, Order]:
        """Return an undo as the guards of its hosts hold it."""
        if undo.kind == "service.revive":
            return {undo.host: orders.revive(self.inventory)}
        if undo.kind == "gateway.discard":
            return orders.discard(self.places)
        if undo.kind == "gateway.restore" and self.original is not None:
            return orders.restore(self.inventory, self.original, self.staged)
        return {}

    def lost(self, host: str, why: str, answers: bool) -> None:
        """Hear from a heartbeat that a guard is lost: the drill stops and restores; what is being restored goes on.

        A host that does not answer is given up, because a step that waits for it would keep the others from being
        restored, and their guards believe that all is well.
        """
        self.watcher.note(why)
        if self.section != "restore":
            self.interrupt.ask(why)
            if not answers and self.fleet is not None:
                self.fleet.hang_up(host)

    def wait_until(self, condition: Callable[[], bool], timeout: float, every: float = 0.1) -> bool:
        """Ask again and again until it is true; tell whether it was within `timeout` seconds.

        Raises Aborted when somebody asks to stop.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() >= deadline:
                return False
            self.interrupt.sleep(every)
        return True

    def zone_hosts(self) -> list[Host]:
        """Return the hosts of both zones, the primary's first."""
        return [host for role in ("primary", "standby") for host in self.inventory.zone(role).hosts]

    def live(self) -> tuple[Fleet, Gateway]:
        """Return fleet and gateway. Raises DrillctlError (a bug) before `connect` was done."""
        if self.fleet is None or self.gateway is None:
            raise DrillctlError("the step needs a connection and there is none yet")
        return self.fleet, self.gateway

    def sending(self) -> Traffic:
        """Return the traffic. Raises DrillctlError (a bug) before it was started."""
        if self.traffic is None:
            raise DrillctlError("the step needs traffic and there is none yet")
        return self.traffic
