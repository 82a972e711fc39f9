"""`drillctl watch`: look at an estate by the clock, and say, store and tell what changed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drillctl.cli.estate import InventoryOption, LabOption, load_estate
from drillctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drillctl.history.store import History
    from drillctl.inventory import Inventory
    from drillctl.notify.sender import Sender
    from drillctl.patrol.baseline import Baseline
    from drillctl.patrol.event import Event
    from drillctl.patrol.finding import Finding
    from drillctl.patrol.late_history import LateHistory
    from drillctl.patrol.look import Look
    from drillctl.patrol.patrol import Patrol

SHORTEST, LONGEST = 1.0, 86400.0


def watch(
    inventory: InventoryOption = None,
    lab: LabOption = False,
    every: Annotated[str, typer.Option("--every", help="How often to look, such as 30s or 5m.")] = "30s",
    hold: Annotated[int, typer.Option("--hold", min=1, max=100, help="Looks in a row until an alarm.")] = 2,
    metrics: Annotated[
        str | None, typer.Option("--metrics", metavar="ADDRESS:PORT", help="Serve /metrics for Prometheus there.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once; exit code 0 only if all is well, else 4.")] = False,
    store: Annotated[bool, typer.Option("--store/--no-store", help="Store what is seen in the history.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: print one JSON document.")] = False,
) -> None:
    """Look at both zones and the gateway by the clock, and print changes only. SIGTERM ends it; SIGHUP accepts."""
    seconds = interval(every)
    if as_json and not once:
        raise UsageError(
            "--json needs --once", hint="a patrol has no end, and so no document", state="nothing was done"
        )
    if metrics is not None and once:
        raise UsageError("--metrics and --once exclude each other", state="nothing was done")
    estate = with_credential(load_estate(inventory, lab))
    with _history(estate, wanted=store) as history, _sender(estate, wanted=not once) as sender:
        teller = _Teller(estate, sender, quiet=once)
        with _patrol(estate, seconds, 1 if once else hold, history, teller, wait=once) as patrol:
            teller.patrol = patrol
            if once:
                _once(patrol, as_json=as_json)
            else:
                _run(patrol, metrics, teller)


def interval(text: str) -> float:
    """Return a time such as 30s in seconds. Raises UsageError."""
    match = re.fullmatch(r"(\d{1,5}(?:\.\d{1,3})?)(s|m|h)", text)
    seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if not SHORTEST <= seconds <= LONGEST:
        raise UsageError(
            f"`{text}` is no time between 1 second and 24 hours",
            hint="a number and a unit: 30s is every thirty seconds, 30m every thirty minutes",
            state="nothing was done",
        )
    return seconds


def with_credential(estate: Inventory) -> Inventory:
    """Return an estate that is logged in to with the key that systemd hands over, if it does (LoadCredential=)."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    key = Path(folder, "ssh-key") if folder else None
    if key is None or not key.is_file():
        return estate
    return estate.model_copy(update={"ssh": estate.ssh.model_copy(update={"key": key})})


def stop_on_signals() -> threading.Event:
    """Return what SIGINT and SIGTERM set. A look that waits for a host goes on to its end; a second signal does not."""
    from drillctl.signals import Listener

    stop = threading.Event()

    def asked(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    Listener((signal.SIGINT, signal.SIGTERM), asked).start()  # until the process ends
    return stop


class _Teller:
    """Prints events as they come, and has the people told once a look."""

    def __init__(self, estate: Inventory, sender: Sender | None, *, quiet: bool) -> None:
        self.patrol: Patrol | None = None
        self._estate = estate
        self._sender = sender
        self._quiet = quiet
        self._lock = threading.Lock()
        self._events: list[Event] = []

    def say(self, event: Event) -> None:
        self._events.append(event)
        if not self._quiet:
            self.line(event.line())

    def line(self, text: str) -> None:
        from drillctl.cli.console import plain

        with self._lock:
            sys.stdout.write(plain(text) + "\n")
            sys.stdout.flush()

    def flush(self) -> None:
        from drillctl.notify.message import of_events

        events, self._events = self._events, []
        if self._sender is not None and self.patrol is not None:
            for message in of_events(self._estate, events, len(self.patrol.alarms)):
                self._sender.send(message)


@contextlib.contextmanager
def _history(estate: Inventory, *, wanted: bool) -> Iterator[History | LateHistory | None]:
    """Yield the history, or one that is opened later; while none can be used the patrol goes on, and says so."""
    from drillctl.cli.console import show_error
    from drillctl.errors import HistoryError

    if not wanted:
        yield None
        return
    from drillctl.history.store import History

    try:
        history = History.open(inventory=estate)
    except HistoryError as error:
        from drillctl.patrol.late_history import LateHistory

        show_error(error)
        with contextlib.closing(LateHistory(lambda: History.open(inventory=estate))) as late:
            yield late
        return
    with history:
        yield history


@contextlib.contextmanager
def _sender(estate: Inventory, *, wanted: bool) -> Iterator[Sender | None]:
    if not (wanted and estate.notify):
        yield None
        return
    from drillctl.cli.console import err
    from drillctl.notify.sender import Sender

    with Sender.of(estate, lambda text: err().print(text, soft_wrap=True, markup=False)) as sender:
        yield sender


@contextlib.contextmanager
def _patrol(
    estate: Inventory, every: float, hold: int, store: History | LateHistory | None, teller: _Teller, *, wait: bool
) -> Iterator[Patrol]:
    from drillctl.errors import HistoryError
    from drillctl.patrol.connections import Connections
    from drillctl.patrol.late_history import LateHistory
    from drillctl.patrol.patrol import Patrol
    from drillctl.patrol.sampler import Sampler

    with Connections(estate) as connections:
        patrol = Patrol(
            inventory=estate,
            sampler=Sampler(estate, connections, wait=wait),
            every=every,
            say=teller.say,
            hold=hold,
            store=store,
        )
        if isinstance(store, LateHistory):
            store.opened = lambda history: patrol.baseline.recall(_known(estate, history))
        elif store is not None:
            with contextlib.suppress(HistoryError):
                patrol.baseline = _known(estate, store)
        yield patrol


def _known(estate: Inventory, history: History) -> Baseline:
    """Return the baseline that a history holds. Raises HistoryError."""
    from drillctl.patrol.baseline import Baseline

    last = history.last_drill(estate.name)
    samples = history.last_samples(estate.name).values()
    return Baseline.of(samples, (last.ended or last.at) if last else None)


def _once(patrol: Patrol, *, as_json: bool) -> None:
    look, found = patrol.once()
    if as_json:
        sys.stdout.write(json.dumps(document(patrol, look, found), ensure_ascii=False, indent=2) + "\n")
    else:
        from drillctl.cli.console import out

        for finding in found:
            out().print(str(finding), soft_wrap=True, markup=False)
        if look.drill is not None:
            out().print(f"a drill is going on: {look.drill.run}", soft_wrap=True, markup=False)
        out().print("all is well" if not found else "NOT all is well (exit code 4)")
    if found:
        raise typer.Exit(4)


def _run(patrol: Patrol, metrics: str | None, teller: _Teller) -> None:
    from drillctl.patrol.supervisor import tell

    stop = stop_on_signals()
    signal.signal(signal.SIGHUP, lambda *_: patrol.accept())
    with contextlib.ExitStack() as stack:
        served = None
        if metrics is not None:
            from drillctl.patrol.metrics import MetricsServer, PatrolMetrics

            served = PatrolMetrics(patrol)
            server = MetricsServer(metrics, served)
            stack.callback(server.close)
            teller.line(f"# metrics at http://{server.address}/metrics")

        def observe(look: Look, findings: Sequence[Finding]) -> None:
            if served is not None:
                served.observe(look, findings)
            teller.flush()
            alarms = len(patrol.alarms)
            tell(f"READY=1\nSTATUS={patrol.looks} looks, {patrol.missed} missed, {alarms} alarms\nWATCHDOG=1")

        patrol.observe = observe
        patrol.alive = lambda: tell("WATCHDOG=1")
        patrol.run(stop)
    tell("STOPPING=1")


def document(patrol: Patrol, look: Look, found: Sequence[Finding]) -> dict[str, object]:
    """Return the JSON document of `watch --once --json`."""
    return {
        "schema_version": 1,
        "at": look.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "inventory": patrol.inventory.name,
        "seconds": round(look.seconds, 3),
        "hosts": [
            {
                "name": zone.name,
                "zone": zone.survey.zone,
                "role": zone.survey.role,
                "reachable": zone.trouble is None,
                "health": zone.health.health,
                "ready": zone.health.ready,
                "latency_seconds": zone.latency,
                "sha256_disk": zone.survey.sha256_disk,
                "sha256_loaded": zone.survey.sha256_loaded,
                "fingerprint": zone.fingerprint,
            }
            for zone in look.zones
        ],
        "gateway": {
            "configured_zone": look.configured_zone,
            "configured_known": look.configured_known,
            "configured_reason": look.configured_reason,
            "serving_zone": look.serving_zone,
            "serving_status": look.serving_status,
            "hosts": [
                {"name": one.name, "reachable": one.trouble is None, "config_sha256": one.config_sha256}
                for one in look.gateways
            ],
        },
        "drill": look.drill.run if look.drill else None,
        "findings": [{"kind": one.kind, "place": one.place, "text": one.text} for one in found],
        "ok": not found,
    }
