"""One execution of a playbook: what it works with, what it has done so far, and what it has found out."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from drillctl.errors import DrillctlError
from drillctl.faults.fault import Place
from drillctl.guard import orders
from drillctl.history.regression import Past
from drillctl.undo import ON_ZONES, Outstanding, Undo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from drillctl.compare.equality import Equality
    from drillctl.compare.identity import Difference
    from drillctl.faults import Fault
    from drillctl.gates import Gate
    from drillctl.gateway.gateway import Gateway, GatewayConfig, Staged
    from drillctl.guard.guards import Guards
    from drillctl.guard.lease import Order
    from drillctl.hosts.fleet import Fleet
    from drillctl.hosts.service import ServiceManager
    from drillctl.interrupt import Interrupt
    from drillctl.inventory import Host, Inventory, Role
    from drillctl.journal import Journal
    from drillctl.machine import Machine
    from drillctl.plan import Section
    from drillctl.playbook import Playbook
    from drillctl.survey import HostSurvey
    from drillctl.traffic.detection import Detection
    from drillctl.traffic.probe import Probe
    from drillctl.traffic.stream import Traffic

T = TypeVar("T")
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
    """When the fault that clients were to notice began."""
    fault_proven: float | None = None
    """When that fault was proven on all its hosts."""
    other_proven: float | None = None
    """When the first fault that clients were not to notice was proven on all its hosts."""
    outage_until: float | None = None
    """When the next fault of clients began: the outage of the first is measured up to here."""
    detected: float | None = None
    switch_began: float | None = None
    active: float | None = None
    restore_began: float | None = None
    traffic_ended: float | None = None

    @property
    def broken(self) -> float | None:
        """Return when clients had to begin to notice: at the fault, or at a switch that nothing went before."""
        begun = [at for at in (self.fault_began, self.switch_began) if at is not None]
        return min(begun, default=None)


@dataclass(frozen=True)
class Struck:
    """A fault that was injected on a host, and the evidence that it took effect; empty while that is awaited."""

    fault: Fault
    place: Place
    evidence: str = ""


@dataclass(frozen=True)
class Fallback:
    """What clients got while no zone served: how many answers, the slowest in seconds, and one body."""

    answers: int
    slowest: float
    body: str


@dataclass
class Findings:
    """What the run found out, for verdict and report.

    `answers` are the last bodies by image: the standby's, and the primary's from after the restore; `baseline` holds
    the primary's from before the fault.
    """

    gates: tuple[Gate, ...] = ()
    surveys: dict[str, HostSurvey] = field(default_factory=dict)
    machines: dict[str, Machine] = field(default_factory=dict)
    identity: tuple[Difference, ...] = ()
    not_proven: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    baseline: Mapping[str, bytes] = field(default_factory=dict)
    answers: dict[Role, Mapping[str, bytes]] = field(default_factory=dict)
    accepted: dict[str, set[str]] = field(default_factory=dict)
    """By image, the digests of answers to it that were compared with the baseline's and agree by the rule."""
    noise: float | None = None
    standby_before: Equality | None = None
    standby_serving: Equality | None = None
    primary_restored: Equality | None = None
    struck: list[Struck] = field(default_factory=list)
    detection: Detection | None = None
    not_expected: Detection | None = None
    """What was detected by a `detect` that expects nothing."""
    fallback: Fallback | None = None
    cold_starts: dict[str, float] = field(default_factory=dict)
    config_diff: str = ""
    config_identical: bool | None = None
    kept: bool = False
    """Whether a switch was left as it is, because that was the purpose."""
    probes: list[Probe] = field(default_factory=list)
    cut_short_at: float | None = None
    """When the last request on record ended, where the prober did not come to its end; None: the record is whole."""
    left: list[str] = field(default_factory=list)
    past: Past = field(default_factory=Past)


def _in_words(error: BaseException, host: str) -> str:
    """Return what an error says, without the host that stands beside it anyway."""
    if not isinstance(error, DrillctlError):
        return f"{type(error).__name__}: {error}"
    return error.message if error.host == host else str(error)


@dataclass(frozen=True)
class People:
    """Who approved the drill, who takes part, and the account that runs it, as user@host."""

    approver: str | None = None
    participants: tuple[str, ...] = ()
    operator: str | None = None


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
        keep: bool = False,
        force: bool = False,
    ) -> None:
        self.run_id = run_id
        self.folder = folder
        self.inventory = inventory
        self.playbook = playbook
        self.journal = journal
        self.interrupt = interrupt
        self.watcher = watcher
        self.people = People(inventory.approver, inventory.participants)
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
        self.keep = keep
        """Whether a switch that succeeds stays: then nothing of it is put back."""
        self.force = force
        """Whether the zone that serves is given up: nothing is asked of it, and its hosts may be out of reach."""
        self.serving: Role = "primary"
        """The role of the zone that clients are sent to now, as far as this run knows."""
        self.away: set[str] = set()
        """Hosts that a fault has taken away, and that have to be connected again."""
        self.proofs: list[Future[None]] = []
        self.given_up = threading.Event()
        """Set when things are put back: proofs that are under way are not awaited any more."""
        self._lock = threading.Lock()

    @contextmanager
    def step(self, name: str, host: str = "", *undos: Undo | None) -> Iterator[Outcome]:
        """Do one step on one host: journal its intent, have its guard hold the undos, act, journal the outcome.

        What it raises is recorded and goes on. May be used from several threads at once.
        """
        wanted = [undo for undo in undos if undo is not None]
        with self._lock:
            for intended in undos or (None,):
                self.journal.intent(name, host, intended)
            for undo in wanted:
                self.outstanding.add(undo)
                self.changed = True
            self.watcher.begun(name, host)
        begun = time.monotonic()
        outcome = Outcome()
        try:
            if self.guards is not None and self.section != "restore":
                self._register(wanted)
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

    def _register(self, undos: list[Undo]) -> None:
        """Have the guards hold the undos of what is about to be done.

        When one does not, nothing is done, and so nothing is to be undone. Raises Aborted or HostError.
        """
        if self.guards is None:
            return
        try:
            self.guards.check()
            for undo in undos:
                self.guard(undo)
        except DrillctlError:
            with self._lock:
                for undo in undos:
                    self.outstanding.done(undo)
                    self.journal.undone(undo)
            raise

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
            self.guards.strike(undo.id, orders.hosts_of(self.inventory, undo))

    def undo(self, undo: Undo) -> None:
        """Carry out the undo of a fault or an action: the host's guard does it, as it would by itself.

        Only a killed server is started from here: a guard that was restarted may not know how. Raises HostError.
        """
        if undo.kind == "service.revive" and "unit" not in undo.arguments:
            self.services[undo.host].revive(restart="restart" in undo.arguments)
        elif self.guards is not None:
            self.guards.undo(undo.host, orders.of_zone(self.inventory, self.host(undo.host), undo))
        else:
            raise DrillctlError("an undo needs its host's guard and there is none yet", host=undo.host)

    def place(self, host: Host) -> Place:
        """Return a host as faults see it."""
        fleet, _ = self.live()
        return Place(self.run_id, self.inventory, host, fleet, self.services.get(host.name), self.given_up)

    def host(self, name: str) -> Host:
        """Return a host of the inventory by name."""
        return next(host for host in self.inventory.hosts if host.name == name)

    def _orders(self, undo: Undo) -> dict[str, Order]:
        """Return an undo as the guards of its hosts hold it."""
        if undo.kind in ON_ZONES:
            return {undo.host: orders.of_zone(self.inventory, self.host(undo.host), undo)}
        if undo.kind == "gateway.discard":
            return orders.discard(self.places)
        if undo.kind == "gateway.restore" and self.original is not None:
            return orders.restore(self.inventory, self.original, self.staged)
        return {}

    def stop(self, why: str) -> None:
        """Hear, from a thread that watches, why the drill must stop and restore; what is being restored goes on."""
        # It must not hang on whether it can be said.
        if self.section != "restore":
            self.interrupt.ask(why)
        self.watcher.note(why)

    def lost(self, host: str, why: str, answers: bool) -> None:
        """Hear from a heartbeat that a guard is lost: the drill stops.

        A host that does not answer is given up, because a step that waits for it would keep the others from being
        restored, and their guards believe that all is well.
        """
        self.stop(why)
        if self.section != "restore" and not answers and self.fleet is not None:
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

    def listening(self, work: Callable[[], T]) -> T:
        """Do something that may wait long for a host, and hear a request to stop meanwhile.

        Raises Aborted at once then; what waits goes on in its thread, to its own timeout, and nobody looks at it. So
        it is for what changes nothing.
        """
        outcome: Future[T] = Future()

        def do() -> None:
            try:
                outcome.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is raised where the outcome is waited for
                outcome.set_exception(error)

        threading.Thread(target=do, name="listening", daemon=True).start()
        while True:
            with contextlib.suppress(FutureTimeout):
                return outcome.result(0.1)
            if outcome.done():
                return outcome.result()
            self.interrupt.check()

    def zone_hosts(self) -> list[Host]:
        """Return the hosts of both zones, the primary's first; of the standby alone where the primary is given up."""
        roles: tuple[Role, ...] = ("standby",) if self.force else ("primary", "standby")
        return [host for role in roles for host in self.inventory.zone(role).hosts]

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
