"""The points of the matrix: where drillctl is killed, taken from what an undisturbed drill did; picking some."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Moment = Literal["before", "during", "after"]


@dataclass(frozen=True)
class Point:
    """One point: its number in the whole matrix, its name, and for a kill the effect at which it strikes."""

    number: int
    name: str
    moment: Moment | None = None
    effect: str = ""


def kills(record: str) -> list[tuple[Moment, str]]:
    """Return when to kill drillctl, from the record of a drill (pure).

    Before each journal write and each remote action, which is also after the one that came before; in the middle of
    each remote command; and after the last of all.
    """
    effects = [line.split(" ", 2)[2] for line in record.splitlines() if line.split(" ", 2)[1] == "before"]
    found: list[tuple[Moment, str]] = []
    for effect in effects:
        found.append(("before", effect))
        if "/journal." not in effect and ":http" not in effect:
            found.append(("during", effect))
    return [*found, ("after", effects[-1])] if effects else []


def matrix(record: str, disturbances: Iterable[str]) -> list[Point]:
    """Return all points, numbered from 1: the kills in the order of the drill, then the other disturbances."""
    found = [Point(n, f"kill {when} {what}", when, what) for n, (when, what) in enumerate(kills(record), 1)]
    return found + [Point(len(found) + n, name) for n, name in enumerate(disturbances, 1)]


def pick(points: Sequence[Point], wanted: Iterable[str]) -> list[Point]:
    """Return the points that are wanted, in their order; nothing wanted: all (pure).

    A word is a number (`17`), a range (`20-35`, `90-`) or a part of a name (`fault/`, `reboot`). Raises ValueError
    for a word that picks nothing.
    """
    words = list(wanted)
    chosen: set[int] = set()
    for word in words:
        span = re.fullmatch(r"(\d+)(-?)(\d*)", word)
        if span:
            first = int(span[1])
            last = int(span[3]) if span[3] else (len(points) if span[2] else first)
            found = {point.number for point in points if first <= point.number <= last}
        else:
            found = {point.number for point in points if word in point.name}
        if not found:
            raise ValueError(f"`{word}` is no point: neither a number up to {len(points)} nor a part of a name")
        chosen |= found
    return [point for point in points if not words or point.number in chosen]
