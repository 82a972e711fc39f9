"""One thing that is not as it should be, as it is said, stored and told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "unreachable",
    "host-key",
    "bug",
    "health",
    "role",
    "model-loaded",
    "model-disk",
    "fingerprint",
    "environment",
    "config",
    "configured-zone",
    "serving-zone",
    "stuck",
]

OUTAGE: frozenset[Kind] = frozenset(
    {"unreachable", "health", "role", "configured-zone", "serving-zone", "model-loaded", "model-disk"}
)
"""What a drill itself brings about: while one goes on, it is noted and no alarm."""


@dataclass(frozen=True)
class Finding:
    """What is wrong, where; `text` holds nothing that changes from look to look, and no secret."""

    kind: Kind
    place: str
    text: str

    @property
    def key(self) -> str:
        """Return what tells it from all others; the same trouble in other words is the same finding."""
        return f"{self.place}:{self.kind}"

    def __str__(self) -> str:
        """Return it in one line."""
        return f"{self.place}: {self.text}"
