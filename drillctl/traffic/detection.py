"""Telling that the primary is gone, from the requests alone: N failures in a row (pure)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drillctl.traffic.probe import LANES, Lane, Overdue, Probe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Event = Probe | Overdue
"""What the prober tells: a request ended, or one has been waiting for too long."""


@dataclass(frozen=True)
class Detection:
    """The moment at which it was known, and the evidence: how many failures of which kind, scheduled from when."""

    at: float
    failures: int
    kinds: Mapping[str, int]
    first_failed: float

    @property
    def evidence(self) -> str:
        """The evidence for a person: `3 failures in a row: 2 × status 502, 1 × timeout`."""
        kinds = ", ".join(f"{count} × {kind}" for kind, count in self.kinds.items())
        return f"{self.failures} failures in a row: {kinds}"


class Detector:
    """Looks for failures in a row, by the order in which requests were due: over all lanes, or within one lane.

    A failure is a request that was lost, one whose answer took longer than `slow` seconds, or one that has waited
    that long. Within one lane counts too, because a zone may refuse every new connection while old ones live on. A
    failure that becomes known late, after a newer request of its lane went well, is old news and does not count.
    The prober's own lag counts for nothing, or a pause of this machine would look like an outage; a request that this
    machine could not send is passed over for the same reason.
    """

    def __init__(self, failures: int, slow: float | None = None, since: float = float("-inf")) -> None:
        if failures < 1:
            raise ValueError("a detection needs at least one failure")
        self._needed = failures
        self._slow = slow
        self._since = since
        self._bad: dict[int, _Failure] = {}
        self._last_good: dict[Lane, float] = {}

    def feed(self, event: Event) -> Detection | None:
        """Take the next event; return the detection if it completes a row. Requests due before `since` are ignored."""
        if event.scheduled < self._since:
            return None
        if isinstance(event, Overdue):
            if self._slow is None or event.at - event.sent < self._slow:
                return None
            return self._failed(event, "no answer yet", event.at)
        if event.unsent:
            return None
        if event.failed:
            return self._failed(event, event.kind, event.done)
        if self._slow is not None and event.done - event.sent > self._slow:
            return self._failed(event, "slow", event.done)
        last_good = max(event.scheduled, self._last_good.get(event.lane, event.scheduled))
        self._last_good[event.lane] = last_good
        self._bad = {s: bad for s, bad in self._bad.items() if bad.lane != event.lane or bad.scheduled > last_good}
        return None

    def _failed(self, event: Event, kind: str, at: float) -> Detection | None:
        if event.scheduled <= self._last_good.get(event.lane, float("-inf")):
            return None
        self._bad[event.seq] = _Failure(event.lane, event.scheduled, kind)
        last_good = max(self._last_good.values(), default=float("-inf"))
        rows = [
            [bad for bad in self._bad.values() if bad.scheduled > last_good],
            *([bad for bad in self._bad.values() if bad.lane == lane] for lane in LANES),
        ]
        row = next((row for row in rows if len(row) >= self._needed), None)
        if row is None:
            return None
        first_failed = min(bad.scheduled for bad in row)
        return Detection(at, len(row), Counter(bad.kind for bad in row), first_failed)


@dataclass(frozen=True, slots=True)
class _Failure:
    lane: Lane
    scheduled: float
    kind: str


def detected(events: Iterable[Event], since: float, failures: int, slow: float | None = None) -> Detection | None:
    """Return the first detection among events in the order in which they became known, or None.

    Requests due before `since` are not looked at; `slow` is in seconds from send to answer, None for no limit.
    """
    detector = Detector(failures, slow, since)
    for event in events:
        if (detection := detector.feed(event)) is not None:
            return detection
    return None
