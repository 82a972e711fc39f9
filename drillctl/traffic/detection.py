"""Telling that the serving zone is gone, from the requests alone: failures in a row, or their share (pure)."""

from __future__ import annotations

from collections import Counter, deque
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
    among: int | None = None
    """Of how many requests, where it was their share that showed it; None for a row."""

    @property
    def evidence(self) -> str:
        """The evidence for a person: `3 failures in a row: 2 × status 502, 1 × timeout`."""
        kinds = ", ".join(f"{count} × {kind}" for kind, count in self.kinds.items())
        return f"{self.failures} failures {'in a row' if self.among is None else f'of {self.among} requests'}: {kinds}"


@dataclass(frozen=True)
class Rule:
    """What counts as an outage: `failures` in a row, or a `share` of the requests of the last `seconds`, or either.

    The share counts once there are `requests` of them. `signals` are the kinds of trouble that count (see `signal_of`);
    `slow` is in seconds from send to answer, None for no limit.
    """

    failures: int | None = 3
    share: float | None = None
    seconds: float = 0.0
    requests: int = 0
    signals: frozenset[str] | None = None
    slow: float | None = None

    def __str__(self) -> str:
        """Return it in words."""
        rows = [f"{self.failures} failures in a row"] if self.failures is not None else []
        rates = [f"{self.share:.0%} failures in {self.seconds:g} s"] if self.share is not None else []
        return " and no ".join(rows + rates)


def signal_of(kind: str) -> str:
    """Return the signal that a failure's kind is: refused, reset, closed, timeout, 5xx, 4xx, slow or other."""
    if kind in ("refused", "reset", "closed", "timeout", "slow"):
        return kind
    if kind == NO_ANSWER:
        return "slow"
    match = kind.removeprefix("status ")
    return f"{match[0]}xx" if match != kind and match[:1] in ("4", "5") else "other"


NO_ANSWER = "no answer yet"
"""The kind of a request that has waited for longer than the slow threshold and may still be answered."""


class Detector:
    """Looks for failures in a row, by the order in which requests were due: over all lanes, or within one lane.

    Where the rule has a share, also for so many failures among the requests due in the last seconds.

    A failure is a request that was lost, one whose answer took longer than `slow` seconds, or one that has waited
    that long. Within one lane counts too, because a zone may refuse every new connection while old ones live on. A
    failure that becomes known late, after a newer request of its lane went well, is old news and does not count.
    The prober's own lag counts for nothing, or a pause of this machine would look like an outage; a request that this
    machine could not send is passed over for the same reason.
    """

    def __init__(self, rule: Rule, since: float = float("-inf")) -> None:
        if rule.failures is not None and rule.failures < 1:
            raise ValueError("a detection needs at least one failure")
        self._rule = rule
        self._slow = rule.slow
        self._since = since
        self._recent: deque[tuple[float, int, str | None]] = deque()
        self._bad: dict[int, _Failure] = {}
        self._last_good: dict[Lane, float] = {}

    def feed(self, event: Event) -> Detection | None:
        """Take the next event; return the detection if it completes a row. Requests due before `since` are ignored."""
        if event.scheduled < self._since:
            return None
        if isinstance(event, Overdue):
            if self._slow is None or event.at - event.sent < self._slow:
                return None
            return self._failed(event, NO_ANSWER, event.at)
        if event.unsent:
            return None
        if event.failed:
            return self._failed(event, event.kind, event.done)
        if self._slow is not None and event.done - event.sent > self._slow:
            return self._failed(event, "slow", event.done)
        self._seen(event, None)
        last_good = max(event.scheduled, self._last_good.get(event.lane, event.scheduled))
        self._last_good[event.lane] = last_good
        self._bad = {s: bad for s, bad in self._bad.items() if bad.lane != event.lane or bad.scheduled > last_good}
        return None

    def _failed(self, event: Event, kind: str, at: float) -> Detection | None:
        if self._rule.signals is not None and signal_of(kind) not in self._rule.signals:
            return None
        self._seen(event, kind)
        return self._row(event, kind, at) or self._rate(at)

    def _seen(self, event: Event, kind: str | None) -> None:
        """Remember a request for the share of failures; one that was overdue and then ended counts once."""
        if self._rule.share is not None:
            self._recent = deque(seen for seen in self._recent if seen[1] != event.seq)
            self._recent.append((event.scheduled, event.seq, kind))

    def _rate(self, at: float) -> Detection | None:
        if self._rule.share is None:
            return None
        recent = [seen for seen in self._recent if seen[0] > at - self._rule.seconds]
        self._recent = deque(recent)
        bad = [(due, kind) for due, _, kind in recent if kind is not None]
        if len(recent) < self._rule.requests or len(bad) < self._rule.share * len(recent):
            return None
        return Detection(at, len(bad), Counter(kind for _, kind in bad), min(due for due, _ in bad), len(recent))

    def _row(self, event: Event, kind: str, at: float) -> Detection | None:
        if self._rule.failures is None or event.scheduled <= self._last_good.get(event.lane, float("-inf")):
            return None
        self._bad[event.seq] = _Failure(event.lane, event.scheduled, kind)
        last_good = max(self._last_good.values(), default=float("-inf"))
        rows = [
            [bad for bad in self._bad.values() if bad.scheduled > last_good],
            *([bad for bad in self._bad.values() if bad.lane == lane] for lane in LANES),
        ]
        row = next((row for row in rows if len(row) >= self._rule.failures), None)
        if row is None:
            return None
        first_failed = min(bad.scheduled for bad in row)
        return Detection(at, len(row), Counter(bad.kind for bad in row), first_failed)


@dataclass(frozen=True, slots=True)
class _Failure:
    lane: Lane
    scheduled: float
    kind: str


def detected(events: Iterable[Event], rule: Rule, since: float = float("-inf")) -> Detection | None:
    """Return the first detection among events in the order in which they became known, or None.

    Requests due before `since` are not looked at.
    """
    detector = Detector(rule, since)
    for event in events:
        if (detection := detector.feed(event)) is not None:
            return detection
    return None


def false_alarms(probes: Iterable[Probe], rule: Rule) -> int:
    """Count how often requests without any fault looked like an outage; after each the count begins anew."""
    ended = sorted(probes, key=lambda probe: probe.done)
    count, since = 0, float("-inf")
    while True:
        found = detected(ended, rule, since)
        if found is None:
            return count
        count += 1
        since = found.at
