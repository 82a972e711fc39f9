"""The outage as clients saw it: when it began, when it ended, what was lost, and how sure that is (pure).

The window runs from the *scheduled* time of the first failed request of the fault to the scheduled time of the first
*sustained* good request from the standby. Where clients relapse after that, it runs to the end of the last relapse.
Requests are taken in the order in which they were due, whatever the order in which they ended.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from drillctl.traffic.probe import Probe

UNNAMED = "unnamed"
"""What good answers that name no zone are counted under."""

ROW = 3
"""So many failed requests in a row, over all lanes or within one, are more than stray ones, as `detect` has it."""


@dataclass(frozen=True)
class Outage:
    """A measured outage; times are CLOCK_MONOTONIC seconds.

    `first_failed` and `first_good` are scheduled times; `seconds` is between them, and the truth is within
    `uncertainty` of it. `first_answer` is when the standby's first good answer arrived, sustained or not;
    `sustained_at` when the last answer that proves the recovery arrived. `lost` counts the failed requests in the
    window, `failed_after` those after it. `relapsed_after`: seconds after which clients had recovered for the first
    time, only to relapse; None: the first recovery is the one that counts.
    """

    first_failed: float
    first_good: float
    first_answer: float
    sustained_at: float
    seconds: float
    uncertainty: float
    lost: int
    failed_after: int
    relapsed_after: float | None = None

    @property
    def words(self) -> str:
        """Return its length and error bar, and whether clients had recovered in between."""
        relapse = "" if self.relapsed_after is None else f", recovered after {self.relapsed_after:.2f} s and relapsed"
        return f"{self.seconds:.2f} s ± {self.uncertainty:.2f} s{relapse}"

    @property
    def losses(self) -> str:
        """Return how many requests it cost, and how many failed later."""
        later = f"; {self.failed_after} failed after the recovery" if self.failed_after else ""
        return f"{self.lost} requests lost{later}"


@dataclass(frozen=True)
class NoOutage:
    """No request was lost. `standby_since`: the scheduled time from which the standby served; None if it did not.

    An outage of up to `uncertainty` seconds may have passed unseen, between two requests.
    """

    standby_since: float | None
    uncertainty: float


@dataclass(frozen=True)
class NotRecovered:
    """Requests were lost, and a sustained recovery was not seen; `reason` is for a person."""

    first_failed: float
    lost: int
    reason: str


Result = Outage | NoOutage | NotRecovered


def measure_outage(
    probes: Iterable[Probe],
    fault_at: float,
    standby_zone: str,
    interval: float,
    sustain: float,
    until: float = math.inf,
) -> Result:
    """Measure the outage that a fault at `fault_at` caused, from all probes recorded before and after it.

    `fault_at` is when the injection *began*: what fails from then on belongs to the fault, and so does a request that
    was in flight at that moment, unless it had waited for longer than requests usually take: that one was in trouble
    already. Sustained means that this request and all that were due within `sustain` seconds after it were answered
    well by the standby, that every lane in use is among them, and that none of them is without a record. A good answer
    of the primary, by an old nginx worker for example, is neither a failure nor the recovery.

    What fails after `until`, when something else was done to the service, is neither a relapse nor counted after it.
    """
    row = sorted((probe for probe in probes if not probe.unsent), key=lambda probe: (probe.scheduled, probe.seq))
    usual = latencies(probe for probe in row if probe.done < fault_at).p99 or 0.0
    begin = fault_at - usual
    start = next(
        (i for i, p in enumerate(row) if p.failed and p.scheduled >= begin and p.done >= fault_at),
        None,
    )
    if start is None:
        after = [probe for probe in row if probe.scheduled >= fault_at]
        found = _sustained(after, standby_zone, interval, sustain)
        return NoOutage(
            None if isinstance(found, str) else found[0].scheduled, _longest_pause(after, fault_at, interval)
        )
    since = row[start:]
    failed = [probe for probe in since if probe.failed]
    found = _sustained(since, standby_zone, interval, sustain)
    if isinstance(found, str):
        return NotRecovered(failed[0].scheduled, len(failed), found)
    recovered = found[0]
    relapses = _relapses(since[since.index(recovered) :], standby_zone, interval, sustain, until)
    proof = relapses[-1].proof if relapses else found
    if isinstance(proof, str):
        first = recovered.scheduled - failed[0].scheduled
        return NotRecovered(failed[0].scheduled, len(failed), f"recovered after {first:.2f} s, and relapsed: {proof}")
    good = proof[0]
    lost = [probe for probe in failed if probe.scheduled < good.scheduled]
    return Outage(
        first_failed=failed[0].scheduled,
        first_good=good.scheduled,
        first_answer=min(probe.done for probe in since if probe.ok and probe.zone == standby_zone),
        sustained_at=max(probe.done for probe in proof),
        seconds=good.scheduled - failed[0].scheduled,
        uncertainty=_uncertainty(row, lost, good, max(fault_at, row[0].scheduled), usual, interval),
        lost=len(lost),
        failed_after=sum(probe.scheduled >= good.scheduled and probe.done < until for probe in failed),
        relapsed_after=recovered.scheduled - failed[0].scheduled if relapses else None,
    )


@dataclass(frozen=True)
class _Relapse:
    """A stretch without a sustained recovery; `proof` are the requests that prove the next one, or why none was."""

    seconds: float
    proof: list[Probe] | str


def _relapses(
    since: Sequence[Probe], standby_zone: str, interval: float, sustain: float, until: float
) -> list[_Relapse]:
    """Return the stretches after a recovery in which clients were out again; none if they are too short to count.

    Each begins with failed requests in a row and lasts to the next sustained good one. Together they must last as
    long as what counts as sustained: a busy server that refuses a few requests has not gone.
    """
    found: list[_Relapse] = []
    while (begin := _row_of_failures(since, until)) is not None:
        since = since[begin:]
        proof = _sustained(since, standby_zone, interval, sustain)
        end = since[-1].scheduled + interval if isinstance(proof, str) else proof[0].scheduled
        found.append(_Relapse(end - since[0].scheduled, proof))
        if isinstance(proof, str):
            break
        since = since[since.index(proof[0]) :]
    # Half an interval of slack, as there is for what counts as sustained.
    return found if sum(relapse.seconds for relapse in found) >= sustain - interval / 2 else []


def _row_of_failures(since: Sequence[Probe], until: float) -> int | None:
    """Return where the first `ROW` failed requests in a row begin, over all lanes or within one; None without them."""
    rows: dict[str, list[int]] = {}
    for number, probe in enumerate(since):
        for lane in ("", probe.lane):
            row = rows.setdefault(lane, [])
            if not probe.failed or probe.done >= until:
                row.clear()
                continue
            row.append(number)
            if len(row) == ROW:
                return row[0]
    return None


def _sustained(since: Sequence[Probe], standby_zone: str, interval: float, sustain: float) -> list[Probe] | str:
    """Return the requests that prove the first sustained recovery, or why there is none, for a person."""
    lanes = {probe.lane for probe in since}
    streak: list[Probe] = []
    gap = 0
    for probe in since:
        if not (probe.ok and probe.zone == standby_zone):
            streak = []
            continue
        if streak and probe.seq - streak[-1].seq > 1:
            gap = probe.seq - streak[-1].seq - 1
            streak = []
        streak.append(probe)
        # Half an interval of slack: scheduled times are rounded, and the last one must not be missed by a microsecond.
        if probe.scheduled - streak[0].scheduled >= sustain - interval / 2 and {p.lane for p in streak} == lanes:
            return streak
    if not streak:
        served = Counter(probe.zone or UNNAMED for probe in since if probe.ok)
        if standby_zone not in served:
            return f"no good answer from {standby_zone}"
        return f"good answers from {standby_zone} ({served[standby_zone]}), but the last request was not one of them"
    seen = streak[-1].scheduled - streak[0].scheduled
    missing = f", after {gap} without a record" if gap else ""
    return f"good answers from {standby_zone} for the last {seen:.2f} s only{missing}; {sustain:g} s count as sustained"


def _uncertainty(
    row: Sequence[Probe], lost: Sequence[Probe], good: Probe, fault_at: float, usual: float, interval: float
) -> float:
    """Return by how much the true outage may be longer or shorter than the one between the two scheduled times.

    The service went down after the last request before the window arrived, and by the time that the first failed one
    usually would have been answered; it came back after the last bad request arrived and before the first good one
    did. Where one lane alone failed, only that lane's requests say so. A request arrives at its scheduled time plus
    the prober's lag.
    """
    lanes = {probe.lane for probe in lost}
    first = lost[0]
    before = [p.scheduled for p in row if p.scheduled < first.scheduled and p.lane in lanes]
    last_bad = max(p.scheduled for p in row if p.scheduled < good.scheduled)
    confirmed = next((p for p in row if p.scheduled >= good.scheduled and p.lane in lanes), good)
    longer = first.scheduled - max(before, default=fault_at) + confirmed.sent - good.scheduled
    shorter = good.scheduled - last_bad + max(first.lag, min(first.latency, usual))
    return max(longer, shorter, interval)


def _longest_pause(after: Sequence[Probe], fault_at: float, interval: float) -> float:
    sends = sorted((fault_at, *(probe.sent for probe in after)))
    return max((later - earlier for earlier, later in pairwise(sends)), default=interval)


@dataclass(frozen=True)
class Parts:
    """Where the time went, in seconds; None where the drill had no such moment (a planned switch detects nothing).

    Signed: a request that was due just before the switch was proven may already have been answered by the standby.
    """

    detection: float | None
    switch: float | None
    answer: float | None
    sustain: float


def split(fault_at: float, detected_at: float | None, active_at: float | None, outage: Outage) -> Parts:
    """Split an outage: fault proven → detected → config active → first sustained good request → sustained."""
    switch_from = fault_at if detected_at is None else detected_at
    return Parts(
        detection=None if detected_at is None else detected_at - fault_at,
        switch=None if active_at is None else active_at - switch_from,
        answer=None if active_at is None else outage.first_good - active_at,
        sustain=outage.sustained_at - outage.first_good,
    )


@dataclass(frozen=True)
class Latencies:
    """Percentiles of the good requests, in seconds from the scheduled send; None where there were none.

    Nearest rank: the smallest measured value that at least that share of the values does not exceed. It is always a
    value that a client really saw.
    """

    p50: float | None
    p90: float | None
    p99: float | None
    max: float | None


def latencies(probes: Iterable[Probe]) -> Latencies:
    """Return the latencies of the good ones among probes."""
    values = sorted(probe.latency for probe in probes if probe.ok)

    def rank(percent: int) -> float | None:
        return values[math.ceil(len(values) * percent / 100) - 1] if values else None

    return Latencies(rank(50), rank(90), rank(99), rank(100))


@dataclass(frozen=True)
class Counts:
    """Requests that were due in a window. `sent` = `ok` + `failed`; `slow` is among the ok ones.

    `missed` were not sent on time, `unsent` of them not at all, for want of a descriptor or a port on this machine.
    `by_zone` counts the good answers by the zone that gave them, `kinds` the failures.
    """

    sent: int
    ok: int
    failed: int
    slow: int
    missed: int
    unsent: int
    by_zone: Mapping[str, int]
    kinds: Mapping[str, int]
    latency: Latencies


def count(
    probes: Iterable[Probe],
    since: float = -math.inf,
    until: float = math.inf,
    slow: float = math.inf,
) -> Counts:
    """Count the requests that were due from `since` until before `until`; slow ones took more than `slow` seconds."""
    due = [probe for probe in probes if since <= probe.scheduled < until]
    unsent = sum(probe.unsent for probe in due)
    ok = [probe for probe in due if probe.ok]
    return Counts(
        sent=len(due) - unsent,
        ok=len(ok),
        failed=len(due) - unsent - len(ok),
        slow=sum(probe.latency > slow for probe in ok),
        missed=sum(probe.missed or probe.unsent for probe in due),
        unsent=unsent,
        by_zone=dict(Counter(probe.zone or UNNAMED for probe in ok)),
        kinds=dict(Counter(probe.kind for probe in due if probe.failed)),
        latency=latencies(ok),
    )
