"""When to look: whole multiples of the interval on the wall clock, kept by the monotonic clock (pure)."""

from __future__ import annotations


class Ticks:
    """Moments at which to look, `every` seconds apart, without drift.

    They are aligned once, to the wall clock at the start (at :00 and :30 for 30 s), and from then on counted on the
    monotonic clock, so that a look that takes long, or a clock that is set, moves none of them. Moments that went by
    meanwhile are skipped and counted in `missed`, never made up for in a bunch.
    """

    def __init__(self, every: float, *, wall: float, monotonic: float) -> None:
        self.every = every
        self.missed = 0
        self._first = monotonic + (every - wall % every) % every
        self._number = 0

    @property
    def due(self) -> float:
        """Return the next moment, on the monotonic clock."""
        return self._first + self._number * self.every

    def advance(self, monotonic: float) -> int:
        """Go on to the first moment after now; return how many went by without a look."""
        number = max(self._number, int((monotonic - self._first) // self.every)) + 1
        skipped = number - self._number - 1
        self._number = number
        self.missed += skipped
        return skipped
