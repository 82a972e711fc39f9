"""One request of the traffic, and the one-line JSON form in which it is recorded.

All times are seconds of CLOCK_MONOTONIC, which every process of one machine shares: what the prober writes can be
compared with `time.monotonic()` in drillctl itself. They say nothing across machines or reboots.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Literal, get_args

Lane = Literal["fresh", "keepalive"]
LANES: tuple[Lane, ...] = get_args(Lane)

CLIENT_FAULT = "client:"
"""How the error of a request begins that this machine could not send: no file descriptor or no port was left."""

LATE_AT_LEAST = 0.05
"""A send that left up to this many seconds after its time is never called missed, however high the rate."""


def is_missed(scheduled: float, sent: float, interval: float) -> bool:
    """Return whether a request left too late to say anything about its scheduled time.

    Late is more than one sending interval, and more than 50 ms. A missed request is sent all the same, and reported.
    """
    return sent - scheduled > max(interval, LATE_AT_LEAST)


@dataclass(frozen=True, slots=True)
class Probe:
    """One finished request: when it was due, when it left, when it ended, and who answered what.

    `status` is None without an HTTP answer. `error` is None or a short kind: refused, reset, closed, timeout, dns, tls,
    unreachable, client:NAME (this machine could not send it), other:NAME. A body that was cut off has both a status
    and an error. `zone` and `host` are what the answer's headers say. `digest` is the SHA-256, in hex, of the
    canonical JSON of a body answered with 200; None if there is none or it is not JSON.
    """

    seq: int
    lane: Lane
    image: str
    scheduled: float
    sent: float
    done: float
    status: int | None
    error: str | None
    zone: str | None
    host: str | None
    digest: str | None
    missed: bool

    @property
    def ok(self) -> bool:
        """Whether the client got a whole answer with status 200."""
        return self.status == 200 and self.error is None

    @property
    def unsent(self) -> bool:
        """Whether this machine could not send it: that is no failure of the service, and no success either."""
        return self.error is not None and self.error.startswith(CLIENT_FAULT)

    @property
    def failed(self) -> bool:
        """Whether a client lost this request."""
        return not self.ok and not self.unsent

    @property
    def latency(self) -> float:
        """Seconds from the scheduled send to the end: waiting to be sent counts, as it does for a client."""
        return self.done - self.scheduled

    @property
    def lag(self) -> float:
        """Seconds by which the prober itself was late."""
        return self.sent - self.scheduled

    @property
    def kind(self) -> str:
        """What happened, in a word or two: ok, an error's kind, or the status."""
        if self.ok:
            return "ok"
        return self.error or f"status {self.status}"

    def to_json(self) -> str:
        """Return one line of compact JSON, without its newline; times are rounded to a microsecond."""
        row = {key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(self).items()}
        return json.dumps(row, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Probe:
        """Read a line of `to_json`. Raises ValueError for anything else, a line cut short included."""
        row = json.loads(line)
        if not isinstance(row, dict) or set(row) != _NAMES:
            raise ValueError("not the record of a request")
        return cls(**row)


_NAMES = {field.name for field in fields(Probe)}


@dataclass(frozen=True, slots=True)
class Overdue:
    """A request that is still without an answer `at`, longer after its send than the slow threshold.

    A zone that hangs answers nothing, so that its first failure is only known after the client's timeout; this says it
    earlier. The same request is recorded as a Probe when it ends.
    """

    seq: int
    lane: Lane
    scheduled: float
    sent: float
    at: float
