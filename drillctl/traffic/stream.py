"""The engine's end of the traffic: starts the prober, keeps and records what it tells, waits for what shows in it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar, cast

import drillctl
from drillctl.errors import Inconclusive
from drillctl.traffic.detection import Detection, Detector, Event, Rule
from drillctl.traffic.probe import Overdue, Probe

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from drillctl.traffic.spec import TrafficSpec

T = TypeVar("T")

_RUN_PROBER = """
import sys
sys.path.insert(0, sys.argv[1])
import drillctl
del sys.path[0]
from drillctl.traffic import prober
prober.main()
"""
"""As `-m drillctl.traffic.prober`, but surely of this very package, wherever drillctl was started from."""

READY_WITHIN = 15.0
"""Seconds within which the prober must have read its specification and warmed up, beyond one request's timeout."""


@dataclass(frozen=True)
class Lag:
    """By how many seconds the prober itself was late, over all its requests."""

    p50: float
    p99: float
    max: float


class Traffic:
    """Traffic that runs from `start` to `stop`; every probe is kept in memory and appended to a JSON-lines file.

    All methods may be called from any thread. Use it in a `with` block: leaving that ends the prober in any case.
    `lag` is known after `stop`. `record_fault` says why the file is not complete (a full disk); the measurement goes
    on in memory.
    """

    def __init__(self, spec: TrafficSpec, record: Path) -> None:
        self.spec = spec
        self.record = record
        self.lag: Lag | None = None
        self.record_fault: str | None = None
        self._events: list[Event] = []
        self._probes: list[Probe] = []
        self._marks: dict[str, float] = {}
        self._ready = False
        self._ended = False
        self._stopping = False
        self._changed = threading.Condition()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._prober = subprocess.Popen(
            [sys.executable, "-P", "-c", _RUN_PROBER, str(Path(drillctl.__file__).parent.parent)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,  # a Ctrl-C in the terminal must not end the measurement
        )
        self._input = cast("IO[bytes]", self._prober.stdin)
        self._output = cast("IO[bytes]", self._prober.stdout)
        self._reader = threading.Thread(target=self._read, name="traffic", daemon=True)

    @classmethod
    def start(cls, spec: TrafficSpec, record: Path) -> Traffic:
        """Start the prober and return when its schedule begins. Raises Inconclusive if it does not."""
        traffic = cls(spec, record)
        traffic._reader.start()
        try:
            traffic._tell(spec.model_dump_json())
            traffic._wait_until_ready()
        except BaseException:
            traffic.close()
            raise
        return traffic

    def probes(self, since: float = float("-inf")) -> list[Probe]:
        """Return the finished probes that were due from `since` on, in the order in which they ended."""
        with self._changed:
            return [probe for probe in self._probes if probe.scheduled >= since]

    def ended_since(self, number: int) -> list[Probe]:
        """Return the finished probes without the first `number`, in the order in which they ended."""
        with self._changed:
            return self._probes[number:]

    def mark(self, name: str) -> float:
        """Note that something begins now, and return the time. A name may be marked again; the last one counts."""
        now = time.monotonic()
        with self._changed:
            self._marks[name] = now
        return now

    @property
    def marks(self) -> dict[str, float]:
        """What was marked, with its time."""
        with self._changed:
            return dict(self._marks)

    @property
    def dead(self) -> bool:
        """Tell whether the prober ended by itself: nothing is measured any more."""
        with self._changed:
            return self._ended and not self._stopping

    def wait_for(
        self, predicate: Callable[[list[Probe]], T | None], timeout: float, since: float = float("-inf")
    ) -> T | None:
        """Return what `predicate` returns of the probes due from `since` on as soon as it is true; None at the timeout.

        It is asked again whenever a probe ended. Raises Inconclusive if the prober died.
        """
        deadline = time.monotonic() + timeout
        seen = -1
        first = 0
        with self._changed:
            while True:
                if len(self._probes) != seen:
                    seen = len(self._probes)
                    # What ended before `since` was due before it; looking it up once keeps a long drill cheap.
                    while first < seen and self._probes[first].done < since:
                        first += 1
                    if found := predicate([p for p in self._probes[first:] if p.scheduled >= since]):
                        return found
                self._raise_if_dead()
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)

    def wait_for_detection(self, since: float, rule: Rule, timeout: float) -> Detection | None:
        """Return the detection as soon as the requests due from `since` on show one; None at the timeout.

        Raises Inconclusive if the prober died.
        """
        detector = Detector(rule, since)
        deadline = time.monotonic() + timeout
        fed = 0
        with self._changed:
            while True:
                while fed < len(self._events):
                    detection = detector.feed(self._events[fed])
                    fed += 1
                    if detection is not None:
                        return detection
                self._raise_if_dead()
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)

    def stop(self) -> list[Probe]:
        """Stop sending, wait for the requests in flight, return all probes. Raises Inconclusive if the prober died."""
        with self._changed:
            self._raise_if_dead()
            self._stopping = True
        self._tell("stop")
        try:
            self._prober.wait(self.spec.timeout + 10)
        except subprocess.TimeoutExpired:
            self.close()
            raise Inconclusive(
                "the prober did not stop", state=f"it was ended; what it measured is in {self.record}"
            ) from None
        self._reader.join(5)
        code = self._prober.returncode
        said = self._said()
        self.close()
        if code != 0 or self.lag is None:
            raise Inconclusive(
                f"the prober ended with exit code {code}{said}", state=f"what it measured is in {self.record}"
            )
        return self.probes()

    def close(self) -> None:
        """End the prober at once if it still runs. May be called again."""
        with self._changed:
            self._stopping = True
        if self._prober.poll() is None:
            self._prober.kill()
            self._prober.wait()
        if self._reader.is_alive():
            self._reader.join(5)
        for stream in (self._input, self._output, self._errors):
            with contextlib.suppress(OSError):
                stream.close()

    def __enter__(self) -> Traffic:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the prober at once."""
        self.close()

    def _wait_until_ready(self) -> None:
        within = READY_WITHIN + self.spec.timeout
        deadline = time.monotonic() + within
        with self._changed:
            while not self._ready:
                self._raise_if_dead()
                if not self._changed.wait(deadline - time.monotonic()) and not self._ready:
                    raise Inconclusive(
                        f"the prober did not get ready within {within:g} s", hint="is this machine overloaded?"
                    )

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError):  # it died: whoever waits for it says so, with its last words
            self._input.write(line.encode() + b"\n")
            self._input.flush()

    def _read(self) -> None:
        try:
            for line in self._output:
                probe = self._take(line)
                if probe is not None and self.record_fault is None:
                    self._write(line)
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _write(self, line: bytes) -> None:
        """Append a line to the record: after it was made known, so that a slow disk delays no detection."""
        try:
            with self.record.open("ab") as record:
                record.write(line)
        except OSError as error:
            self.record_fault = f"{self.record}: {error.strerror}"

    def _take(self, line: bytes) -> Probe | None:
        """Keep one line of the prober's; return it if it is a probe. Raises ValueError."""
        if not line.startswith(b'{"event"'):
            probe = Probe.from_json(line.decode())
            with self._changed:
                self._probes.append(probe)
                self._events.append(probe)
                self._changed.notify_all()
            return probe
        told = json.loads(line)
        event = told.pop("event")
        with self._changed:
            if event == "ready":
                self._ready = True
            elif event == "overdue":
                self._events.append(Overdue(**told))
            elif event == "end":
                self.lag = Lag(told["lag_p50"], told["lag_p99"], told["lag_max"])
            self._changed.notify_all()
        return None

    def _raise_if_dead(self) -> None:
        if self._ended and not self._stopping:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._prober.wait(5)
            code = self._prober.returncode
            raise Inconclusive(
                f"the prober ended by itself with exit code {code}{self._said()}",
                state=f"nothing is measured any more; what it measured is in {self.record}",
            )

    def _said(self) -> str:
        """Return the prober's last line of standard error, with a colon before it."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""
