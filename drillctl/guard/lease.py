"""What a guard says of its lease, as types: who holds it, since when, for how long yet, and what is outstanding."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, cast

from drillctl.errors import HostError, NotStarted

State = Literal["free", "held", "expired", "undoing", "stuck"]
STATES: tuple[State, ...] = ("free", "held", "expired", "undoing", "stuck")

MEANING: dict[State, str] = {
    "free": "nobody holds it",
    "held": "a drill runs",
    "expired": "its drill was not heard of any more; the guard is about to undo",
    "undoing": "its drill is gone, and the guard puts back what it did",
    "stuck": "its drill is gone, and the guard could not put everything back",
}


@dataclass(frozen=True)
class Order:
    """One undo as a guard holds it: an id, a kind, its arguments (no newlines), and bytes to keep for it."""

    id: str
    kind: str
    arguments: tuple[str, ...] = ()
    kept: bytes = b""


@dataclass(frozen=True)
class Holding:
    """What a guard holds. `remaining` is in seconds; `since` is the host's wall clock in UTC; `log` its last lines.

    `beside` is the folder of the guard that holds it, where that is another one on the same machine.
    """

    host: str
    state: State = "free"
    epoch: int = 0
    run: str = ""
    owner: str = ""
    since: str = ""
    ttl: int = 0
    remaining: int = 0
    orders: tuple[Order, ...] = ()
    log: tuple[str, ...] = ()
    beside: str = ""

    @property
    def until(self) -> str:
        """Return when the lease runs out, by this machine's wall clock in UTC; the guard itself uses no wall clock."""
        return (datetime.now(UTC) + timedelta(seconds=self.remaining)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def order(self, kind: str) -> Order | None:
        """Return the outstanding order of a kind, or None."""
        return next((order for order in self.orders if order.kind == kind), None)


@dataclass(frozen=True)
class Lease:
    """A lease that is ours: the guard's folder on the host, and the epoch that every command must name."""

    host: str
    folder: str
    epoch: int
    ttl: int


class Held(NotStarted):
    """Somebody else holds the lease, or left something undone under it."""

    def __init__(self, holding: Holding) -> None:
        self.holding = holding
        if holding.state == "held":
            message = (
                f"another drill holds the lease: {holding.run}, by {holding.owner}, since {holding.since}, "
                f"until {holding.until} unless it is renewed"
            )
            hint = (
                "wait for its end; `drillctl recover` puts back what it did if it was killed, "
                f"and `drillctl lease break --id {holding.run}` ends it in any case"
            )
        else:
            outstanding = ", ".join(order.kind for order in holding.orders)
            message = (
                f"{holding.run}, by {holding.owner}, since {holding.since}, is unfinished: {MEANING[holding.state]} "
                f"(outstanding: {outstanding})"
            )
            hint = "run `drillctl recover`, then try again"
        if holding.beside:
            message += f"; its inventory calls this machine {holding.beside.rpartition('/')[2]}"
            by_hand = f"sh {holding.beside}/guard.sh {holding.beside} break {holding.run}"
            hint = (
                f"wait for its end, or run `drillctl recover` with its inventory; `{by_hand}` there ends it in any case"
            )
        super().__init__(message, host=holding.host, hint=hint, state="nothing was changed")


class StaleLease(HostError):
    """The lease is not ours any more: it ran out, or somebody took it over."""


def parse(host: str, text: str) -> Holding:
    """Read what the guard's `show` printed. Lines of a kind that is not known are left out. Raises HostError."""
    values: dict[str, str] = {}
    orders: list[Order] = []
    log: list[str] = []
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == "undo":
            orders.append(Order(value, ""))
        elif key == "kind" and orders:
            orders[-1] = Order(orders[-1].id, value)
        elif key == "argument" and orders:
            last = orders[-1]
            orders[-1] = Order(last.id, last.kind, (*last.arguments, value))
        elif key == "log":
            log.append(value)
        else:
            values[key] = value
    state = cast("State", values.get("state", ""))
    numbers = {key: values.get(key, "0") for key in ("epoch", "ttl", "remaining")}
    if state not in STATES or not all(number.lstrip("-").isdigit() for number in numbers.values()):
        raise HostError(f"the guard said `{text[:200]}`, which is no lease", host=host)
    return Holding(
        host=host,
        state=state,
        epoch=int(numbers["epoch"]),
        run=values.get("run", ""),
        owner=values.get("owner", ""),
        since=values.get("since", ""),
        ttl=int(numbers["ttl"]),
        remaining=max(0, int(numbers["remaining"])),
        orders=tuple(orders),
        log=tuple(log),
        beside=values.get("beside", ""),
    )
