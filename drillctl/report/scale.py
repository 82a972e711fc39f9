"""Axes of a picture: where a value lies, and where its ticks are (pure)."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Linear:
    """Values from `low` to `high` drawn from `start` to `end`, in the picture's units."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return where a value is drawn; one beyond the axis is drawn at its end."""
        share = (min(max(value, self.low), self.high) - self.low) / ((self.high - self.low) or 1.0)
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self, about: int) -> list[float]:
        """Return round values on the axis, at most about so many."""
        step = _round_step((self.high - self.low) / max(1, about))
        first = math.ceil(self.low / step - 1e-9)
        return [round(n * step, 9) for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Logarithmic:
    """As `Linear`, for values above 0, each factor of ten equally far."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return where a value is drawn; one beyond the axis is drawn at its end."""
        value = min(max(value, self.low), self.high)
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self) -> list[float]:
        """Return the powers of ten on the axis, on a short one also 2 and 5 times them."""
        first, last = math.floor(math.log10(self.low) + 1e-9), math.ceil(math.log10(self.high) - 1e-9)
        steps = (1, 2, 5) if self.high < 50 * self.low else (1,)
        values = [m * 10.0**power for power in range(first, last + 1) for m in steps]
        return [value for value in values if self.low * (1 - 1e-9) <= value <= self.high * (1 + 1e-9)]


def around(low: float, high: float, start: float, end: float) -> Logarithmic:
    """Return a logarithmic axis from the power of ten below `low` to the 1, 2 or 5 times one above `high`."""
    low = max(low, 1e-4)
    high = max(high, low * 1.01)
    bottom = 10.0 ** math.floor(math.log10(low))
    top = 10.0 ** math.floor(math.log10(high))
    return Logarithmic(bottom, next(top * m for m in (1, 2, 5, 10) if top * m >= high * 0.999), start, end)


def _round_step(step: float) -> float:
    if step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= step * (1 - 1e-9))


def duration(seconds: float) -> str:
    """Return a duration as people write it on an axis."""
    if seconds == 0:
        return "0"
    if abs(seconds) < 1:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.4g} s"
