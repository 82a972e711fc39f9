"""What a lab has made: written down before it is made, so that `down` finds it even after `up` was killed."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

Kind = Literal["cgroup", "folder", "link", "mount", "process", "token"]
"""A token is an entry NAME=value in the environment of everything that was started over the lab's SSH."""


@dataclass(frozen=True)
class Thing:
    """One thing that a lab makes: a path, an interface, a process or a token."""

    kind: Kind
    name: str
    pid: int = 0
    started: int = 0


class Ledger:
    """An append-only file of things, one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, thing: Thing) -> None:
        """Write a thing down; it may be made when this returns."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, json.dumps(asdict(thing)).encode() + b"\n")
        finally:
            os.close(descriptor)

    def things(self) -> list[Thing]:
        """Return everything written down, oldest first; a last line that was cut off was never acted on."""
        try:
            lines = self.path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        return [Thing(**json.loads(line)) for line in lines]
