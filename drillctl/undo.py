"""The undo of a change, as data: written down before the change is made, and enough to undo it from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

UndoKind = Literal[
    "service.revive",
    "service.continue",
    "service.stop",
    "filter.remove",
    "file.put-back",
    "file.discard",
    "command.run",
    "gateway.restore",
    "gateway.discard",
]

ON_ZONES: tuple[UndoKind, ...] = (
    "service.revive",
    "service.continue",
    "filter.remove",
    "file.put-back",
    "file.discard",
    "command.run",
)
"""The undos of faults and actions: while one of them is outstanding, its host is not healed."""


@dataclass(frozen=True)
class Undo:
    """One undo: which kind, on which host, with what, and in words for people.

    `arguments` hold only what the inventory does not say, such as the hash of the original config. Two undos of one
    kind on one host are told apart by the argument `id`.
    """

    kind: UndoKind
    host: str
    words: str
    arguments: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Return what its host's guard knows it by: letters, digits, `.` and `-`."""
        return self.arguments.get("id", self.kind)

    def to_json(self) -> dict[str, object]:
        """Return the undo as the journal holds it."""
        return {"kind": self.kind, "host": self.host, "words": self.words, "arguments": self.arguments}


class Outstanding:
    """The undos that are registered and not yet done, oldest first."""

    def __init__(self) -> None:
        self._undos: list[Undo] = []

    def add(self, undo: Undo) -> None:
        """Register an undo; the same one counts once."""
        if undo not in self._undos:
            self._undos.append(undo)

    def done(self, undo: Undo) -> None:
        """Strike out an undo that was carried out or is no longer wanted."""
        if undo in self._undos:
            self._undos.remove(undo)

    def of(self, *kinds: UndoKind) -> list[Undo]:
        """Return the outstanding undos of some kinds, the last registered first."""
        return [undo for undo in reversed(self._undos) if undo.kind in kinds]

    def __iter__(self) -> Iterator[Undo]:
        """Go through them, the last registered first; they may be struck out meanwhile."""
        return iter(self._undos[::-1])

    def __len__(self) -> int:
        return len(self._undos)
