"""The one folder of a lab: where it is, who may use it, and one `up` or `down` at a time."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from drillctl.errors import NotStarted
from drillctl.lab.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drillctl.lab.sources import ModelFolder


@dataclass(frozen=True)
class Site:
    """What a driver builds on: the lab's folder, its ledger, and the model to serve."""

    folder: Path
    ledger: Ledger
    model: ModelFolder

    def last_line(self, log: str) -> str:
        """Return the last line of a log in the folder that says anything; empty when none does."""
        try:
            lines = (self.folder / log).read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def folder() -> Path:
    """Return the folder of this user's lab, whether or not there is one."""
    if os.geteuid() == 0:
        return Path("/run/drillctl-lab")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.access(runtime, os.W_OK):
        return Path(runtime) / "drillctl-lab"
    return Path(f"/tmp/drillctl-lab-{os.geteuid()}")  # noqa: S108 - locked refuses one that is not this user's


def ledger() -> Ledger:
    """Return the ledger of this user's lab."""
    return Ledger(folder() / "ledger.jsonl")


@contextmanager
def locked(*, make: bool) -> Iterator[Path | None]:
    """Hold the lock on the lab's folder; None when there is none and it is not to be made.

    Raises NotStarted when another command holds the lock, or the folder cannot be used or is not this user's alone.
    """
    path = folder()
    try:
        if make:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise NotStarted(f"{path} cannot be the lab's folder: {error.strerror}") from None
    try:
        about = os.fstat(descriptor)
        if about.st_uid != os.geteuid() or about.st_mode & 0o077:
            raise NotStarted(f"{path} is not this user's alone", hint="remove it, or set XDG_RUNTIME_DIR")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held the lock until now may have removed the folder that it is on.
            held = path.stat().st_ino == about.st_ino
        except (BlockingIOError, FileNotFoundError):
            held = False
        if not held:
            raise NotStarted("another `drillctl lab up` or `down` is at work", hint="try again when it is done")
        yield path
    finally:
        os.close(descriptor)
