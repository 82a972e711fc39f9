"""One line of the matrix, and the table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Row:
    """What came of one point.

    `without`: seconds without service, as a client saw it. `back`: seconds from the disturbance until there is service
    for good, 0 when it cost no request. `loading`: the part of `back` in which the model server loaded. `limit`: what
    `back` without `loading` may be. `wrong`: what is not as it was, or should not have been; nothing at best.
    `served`: which zone answered for how long.
    """

    number: int
    name: str
    happened: str
    without: float = 0.0
    back: float = 0.0
    loading: float = 0.0
    limit: float = 0.0
    wrong: list[str] = field(default_factory=list)
    served: str = ""

    @property
    def in_time(self) -> bool:
        """Tell whether service came back within the limit."""
        return self.back - self.loading <= self.limit

    @property
    def right(self) -> bool:
        """Tell whether service came back in time and everything is as it was."""
        return self.in_time and not self.wrong

    @property
    def verdict(self) -> str:
        """Say it in a word or two."""
        if self.wrong:
            return "UNEQUAL"
        return "equal" if self.in_time else "LATE"

    def __str__(self) -> str:
        """Return the line of the table."""
        times = f"{self.without:7.1f} {self.back:6.1f} {self.loading:7.1f}"
        return f"{self.number:4} {self.name:<64.64} {times}  {self.verdict:<8} {self.happened}"


HEAD = (
    f"{'':4} {'point':<64} {'without':>7} {'back':>6} {'loading':>7}  {'estate':<8} what happened\n"
    f"{'':4} {'':<64} {'service':>7} {'after':>6} {'':>7}"
)


def summary(rows: Sequence[Row], limit: float) -> str:
    """Return the lines below the table: how many, the worst, and what is wrong."""
    wrong = [row for row in rows if not row.right]
    lines = [f"{len(rows)} points: {len(rows) - len(wrong)} equal and in time, {len(wrong)} not."]
    out = [row for row in rows if row.back]
    if out:
        slow = max(out, key=lambda row: row.back - row.loading)
        lines.append(
            f"Service was lost in {len(out)}; back at the latest {slow.back - slow.loading:.1f} s after the disturbance"
            f" (point {slow.number}), loading of the model server not counted; allowed are {limit:g} s."
        )
        load = max(out, key=lambda row: row.loading)
        lines.append(f"The model server took up to {load.loading:.1f} s to load.")
    for row in wrong:
        lines.append(f"{row.number} {row.name}: {row.verdict}")
        lines += [f"    {line}" for line in [*row.wrong[:20], f"clients were answered by {row.served}"]]
    return "\n".join(lines)
