"""The file that HAProxy takes its servers' states from when it is reloaded: absent, or its bytes, mode and owner."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import ClassVar, Self


@dataclass(frozen=True, slots=True)
class StateFile:
    """The file as it was; `mode` and `owner` are empty when it is absent."""

    MOST_BYTES: ClassVar[int] = 1 << 20

    content: bytes = field(default=b"", repr=False)
    mode: str = ""
    owner: str = ""

    @classmethod
    def read(cls, printed: bytes) -> Self:
        """Return what a host printed of it."""
        rights, _, content = printed.partition(b"\n")
        if rights == b"absent":
            return cls()
        mode, _, owner = rights.decode().partition(" ")
        return cls(content, mode, owner)

    @classmethod
    def from_words(cls, words: str) -> Self:
        """Return the file that a line describes."""
        if words == "state file absent":
            return cls()
        _, _, mode, owner, content = words.split(" ", 4)
        return cls(base64.b64decode(content), mode, owner)

    def in_words(self) -> str:
        """Return it as one line that `from_words` reads back."""
        if not self.mode:
            return "state file absent"
        return f"state file {self.mode} {self.owner} {base64.b64encode(self.content).decode()}"

    @property
    def words(self) -> tuple[str, str, str]:
        """Return sha256, mode and owner; all empty when it is absent."""
        return (hashlib.sha256(self.content).hexdigest(), self.mode, self.owner) if self.mode else ("", "", "")


def parts_of(choice: str) -> tuple[str, StateFile]:
    """Return the servers' states in words, and the state file, from what a host's `HostConfig.choice` says."""
    words, _, file = choice.partition(" | ")
    return words.partition(" at ")[0], StateFile.from_words(file)
