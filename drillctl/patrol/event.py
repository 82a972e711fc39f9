"""What a patrol says: one line for each change, none while nothing changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from datetime import datetime

Word = Literal["started", "suspect", "vanished", "ALARM", "changed", "recovered", "drill", "note"]


@dataclass(frozen=True)
class Event:
    """One change, at a moment in UTC. `kind` and `place` are a finding's, or empty."""

    at: datetime
    word: Word
    text: str
    kind: str = ""
    place: str = ""

    def line(self) -> str:
        """Return it as one line of plain text."""
        return f"{self.at:%Y-%m-%dT%H:%M:%SZ} {self.word:<9} {self.text}"

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "at": self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "word": self.word,
            "kind": self.kind or None,
            "place": self.place or None,
            "text": self.text,
        }
