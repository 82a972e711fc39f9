"""The patrol: looks by the clock, until told to stop; each look is stored, compared, and its changes said and told."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from drillctl.errors import HistoryError
from drillctl.patrol import bug, drift
from drillctl.patrol.baseline import Baseline
from drillctl.patrol.damping import Change, Damping
from drillctl.patrol.event import Event
from drillctl.patrol.finding import OUTAGE
from drillctl.patrol.ticks import Ticks

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from drillctl.history.sample import Sample
    from drillctl.inventory import Inventory
    from drillctl.patrol.event import Word
    from drillctl.patrol.finding import Finding
    from drillctl.patrol.look import Look
    from drillctl.patrol.sampler import Sampler

KEPT_LOOKS = 240
"""Looks that are kept in memory while the history cannot be written: two hours at one every 30 s."""


SIGN_OF_LIFE = 5.0
"""Seconds after which a patrol that waits says that it lives."""


class Store(Protocol):
    """Where samples go; the history is one."""

    def add_samples(self, samples: Sequence[Sample]) -> None:
        """Store samples; raise HistoryError when they cannot be."""


@dataclass
class Patrol:
    """A patrol of one estate.

    `say` is given every event, and `observe` every look with what was found in it (for metrics). `hold` is how many
    looks in a row a change must last before it is an alarm.
    """

    inventory: Inventory
    sampler: Sampler
    every: float
    say: Callable[[Event], None]
    hold: int = 2
    store: Store | None = None
    baseline: Baseline = field(default_factory=Baseline)
    observe: Callable[[Look, Sequence[Finding]], None] = lambda _look, _findings: None
    alive: Callable[[], None] = lambda: None
    looks: int = 0
    missed: int = 0
    last: Look | None = None

    def __post_init__(self) -> None:
        """Begin with nothing known to be wrong."""
        self._damping = Damping(self.hold)
        self._drill = ""
        self._waiting: deque[list[Sample]] = deque(maxlen=KEPT_LOOKS)
        self._store_well = True
        self._refused: set[str] = set()
        self._accept = False

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """Return what is an alarm now."""
        return self._damping.alarms

    def accept(self) -> None:
        """Take what the next look finds as what is right; safe to call in a signal handler."""
        self._accept = True

    def once(self) -> tuple[Look, tuple[Finding, ...]]:
        """Look once; store and compare it, and say what changed. Return the look and all that is wrong in it."""
        look = self.sampler.look()
        self.looks, self.last = self.looks + 1, look
        if self._accept:
            self._accept = False
            self.baseline.accept(look)
            self._event(look.at, "note", "configs and environments as they are now are taken to be right")
        self.baseline.learn(look)
        found = drift.findings(self.inventory, look, self.baseline)
        self._note_drill(look)
        counted = [one for one in found if not self._drill or self._counts_in_a_drill(one)]
        for change in self._damping.update(counted, look.at):
            self._say(change, look.at)
        self._keep(look)
        self.observe(look, found)
        return look, found

    def run(self, stop: threading.Event) -> None:
        """Look now, then by the clock, until `stop` is set."""
        self._event(
            datetime.now(UTC),
            "started",
            f"{self.inventory.name}: {len(self.inventory.hosts)} hosts, every {self.every:g} s, "
            f"an alarm after {f'{self.hold} looks in a row' if self.hold > 1 else '1 look'}",
        )
        self.once()
        ticks = Ticks(self.every, wall=time.time(), monotonic=time.monotonic())
        while self._wait(ticks.due, stop):
            look, _ = self.once()
            skipped = ticks.advance(time.monotonic())
            self.missed = ticks.missed
            if skipped:
                text = (
                    f"{skipped} {'look was' if skipped == 1 else 'looks were'} skipped: one took {look.seconds:.1f} s"
                )
                self._event(look.at, "note", text)

    def _wait(self, due: float, stop: threading.Event) -> bool:
        """Wait until a moment on the monotonic clock, saying that all is well; tell whether to go on then."""
        while not stop.is_set() and (left := due - time.monotonic()) > 0:
            self.alive()
            stop.wait(min(left, SIGN_OF_LIFE))
        return not stop.is_set()

    def _counts_in_a_drill(self, finding: Finding) -> bool:
        """Tell whether a finding is not the drill's doing: it is of another kind, or was an alarm before."""
        return finding.kind not in OUTAGE or finding.key in {alarm.key for alarm in self.alarms}

    def _note_drill(self, look: Look) -> None:
        drill = look.drill
        run = drill.run if drill is not None else ""
        if run and run != self._drill and drill is not None:
            self._event(look.at, "drill", f"{run} is going on, by {drill.owner}: what it breaks is no alarm")
        elif self._drill and not run:
            self._event(look.at, "drill", f"{self._drill} has given its lease back")
        self._drill = run

    def _say(self, change: Change, at: datetime) -> None:
        finding = change.finding
        lasted = (at - change.since).total_seconds()
        text = str(finding)
        if change.word == "suspect":
            text += f" (look 1 of {self.hold})"
        elif change.word in {"recovered", "vanished"}:
            text = f"no longer: {text} (after {lasted:.0f} s)"
        word: Word = "ALARM" if change.word == "alarm" else change.word
        self._event(at, word, text, finding.kind, finding.place)

    def _event(self, at: datetime, word: Word, text: str, kind: str = "", place: str = "") -> None:
        self.say(Event(at, word, text, kind, place))

    def _keep(self, look: Look) -> None:
        """Store a look, and those that could not be stored before. A history that fails is noted, once."""
        if self.store is None:
            return
        self._waiting.append(look.samples(self.inventory.name))
        try:
            while self._waiting:
                refused = self._stored(self.store, self._waiting[0])
                self._waiting.popleft()
                self._note_refused(look, refused)
        except HistoryError as error:
            if self._store_well:
                self._event(look.at, "note", f"{error}; the last {KEPT_LOOKS} looks are kept until it can be used")
            self._store_well = False
            return
        if not self._store_well:
            self._event(look.at, "note", "the history can be used again")
        self._store_well = True

    def _stored(self, store: Store, samples: Sequence[Sample]) -> dict[str, str]:
        """Store samples; return by host why one was refused for what it says. Only the others can ever be stored.

        Raises HistoryError when the history cannot be used.
        """
        try:
            store.add_samples(samples)
        except Exception as error:
            from drillctl.history.trouble import is_refusal

            if not is_refusal(error):
                raise
            if len(samples) == 1:
                return {samples[0].host: str(error) if isinstance(error, HistoryError) else bug.in_words(error)}
            return {host: why for sample in samples for host, why in self._stored(store, [sample]).items()}
        return {}

    def _note_refused(self, look: Look, refused: Mapping[str, str]) -> None:
        """Say of which hosts samples are dropped; once, while it stays so."""
        for host in sorted(refused.keys() - self._refused):
            self._event(look.at, "note", f"{host}: what was seen of it is not stored: {refused[host]}")
        for host in sorted(self._refused - refused.keys()):
            self._event(look.at, "note", f"{host}: what is seen of it is stored again")
        self._refused = set(refused)
