"""Stop conditions: what makes a drill abort and restore at once, and whether the clients' requests show it (pure).

A drill breaks the service for a while, and says for how long: from the fault to shortly after the switch, failures
are what it is for. That is the expected outage. Everything before and after it must be as good as ever.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from drillctl.fields import Part

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drillctl.traffic.probe import Probe

SETTLE = 1.0
"""Seconds after the switch for which failures still belong to it: old workers of the gateway finish by then."""

Limit = Annotated[float, Field(strict=True, gt=0, le=86400)]


class StopPlan(Part):
    """When a drill is stopped and everything is put back. What is not given never stops it.

    `time_box_seconds`: the whole run up to the restore. `outage_seconds`: without a good answer to a client.
    `failed_requests`: so many are let go, of all up to the restore. `error_rate` (a share, 0 to 1) and `p99_seconds`
    hold outside of the expected outage, over the requests of the last `window_seconds`. `standby_failures`: so many
    times in a row, a second apart, a server of the standby was not healthy.
    """

    time_box_seconds: Limit = 900.0
    outage_seconds: Limit | None = None
    failed_requests: Annotated[int, Field(strict=True, ge=0)] | None = None
    error_rate: Annotated[float, Field(strict=True, ge=0, lt=1)] | None = None
    p99_seconds: Limit | None = None
    window_seconds: Annotated[float, Field(strict=True, ge=1, le=600)] = 5.0
    standby_failures: Annotated[int, Field(strict=True, ge=1, le=600)] = 3


def in_words(plan: StopPlan, *, standby: bool = True) -> tuple[str, ...]:
    """Return the conditions, each as WHAT of "stop and restore if WHAT"; `standby`: its health is one of them."""
    outside = f"over {plan.window_seconds:g} s outside of the expected outage"
    told = [f"it takes longer than {plan.time_box_seconds:g} s up to the restore"]
    if plan.outage_seconds is not None:
        told.append(f"clients get no good answer for more than {plan.outage_seconds:g} s")
    if plan.failed_requests is not None:
        told.append(f"more than {plan.failed_requests} requests fail")
    if plan.error_rate is not None:
        told.append(f"more than {plan.error_rate:.0%} of the requests fail, {outside}")
    if plan.p99_seconds is not None:
        told.append(f"the p99 of the answers is above {plan.p99_seconds:g} s, {outside}")
    if standby:
        told.append(f"a server of the standby is not healthy {plan.standby_failures} times in a row")
    told.append("contact with a guard is lost")
    return tuple(told)


class Requests:
    """The clients' requests so far, as stop conditions look at them. `rate` is in requests a second."""

    def __init__(self, plan: StopPlan, rate: float) -> None:
        self._plan = plan
        self._needed = max(1, math.floor(plan.window_seconds * rate / 2))
        self._failed = 0
        self._last_good: float | None = None
        self._outside: deque[Probe] = deque()

    def feed(self, probes: Iterable[Probe], broken: float | None, mended: float | None) -> None:
        """Take requests that have ended. `broken`, `mended`: when the expected outage began and ended (None: not)."""
        for probe in probes:
            if probe.unsent:
                continue
            if probe.ok:
                self._last_good = max(self._last_good or probe.done, probe.done)
            else:
                self._failed += 1
            if broken is None or probe.done < broken or (mended is not None and probe.scheduled > mended + SETTLE):
                self._outside.append(probe)

    def exceeded(self, now: float, since: float) -> str | None:
        """Return which condition the requests fulfil now, with its measurement; None if none. Traffic runs `since`."""
        plan = self._plan
        if plan.failed_requests is not None and self._failed > plan.failed_requests:
            return f"{self._failed} failed requests, {plan.failed_requests} are allowed"
        silent = now - max(since, self._last_good or since)
        if plan.outage_seconds is not None and silent > plan.outage_seconds:
            return f"an outage of {silent:.1f} s, {plan.outage_seconds:g} s are allowed"
        while self._outside and self._outside[0].done < now - plan.window_seconds:
            self._outside.popleft()
        if len(self._outside) < self._needed:
            return None
        return self._error_rate() or self._latency()

    def _error_rate(self) -> str | None:
        allowed = self._plan.error_rate
        failed = sum(probe.failed for probe in self._outside)
        if allowed is None or failed / len(self._outside) <= allowed:
            return None
        return (
            f"{failed} of {len(self._outside)} requests of the last {self._plan.window_seconds:g} s failed outside of "
            f"the expected outage, {allowed:.0%} are allowed"
        )

    def _latency(self) -> str | None:
        # A request that failed was not answered within any time.
        ordered = sorted(probe.latency if probe.ok else math.inf for probe in self._outside)
        p99 = ordered[math.ceil(len(ordered) * 0.99) - 1]
        allowed = self._plan.p99_seconds
        if allowed is None or p99 <= allowed:
            return None
        shown = "no answer" if p99 == math.inf else f"{p99:.2f} s"
        return (
            f"a p99 of {shown} over the last {self._plan.window_seconds:g} s outside of the expected outage, "
            f"{allowed:g} s are allowed"
        )
