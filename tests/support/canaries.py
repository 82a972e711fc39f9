"""Secrets that are planted, and the search for them in everything that a run leaves behind or shows while it runs."""

from __future__ import annotations

import base64
import os
import secrets
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from drillctl.lab.process import pids

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Canaries:
    """Secrets by the place where they were planted."""

    def __init__(self, *places: str) -> None:
        self.values = {place: f"canary+{secrets.token_hex(8)}/{n}=" for n, place in enumerate(places)}

    def __getitem__(self, place: str) -> str:
        return self.values[place]

    def add_key(self, place: str, key: Path) -> None:
        """Count a line out of the middle of a private key as a secret."""
        lines = [line for line in key.read_text().splitlines() if not line.startswith("-")]
        self.values[place] = lines[len(lines) // 2]

    def in_bytes(self, content: bytes) -> list[str]:
        """Return the places whose secret is in some bytes: as it is, as a URL has it, or in base64."""
        return [place for place, value in self.values.items() if any(form in content for form in _forms(value))]

    def search(self, things: Iterable[tuple[str, bytes]]) -> list[str]:
        """Return which secrets are where, in words."""
        return sorted({f"{place} is in {where}" for where, content in things for place in self.in_bytes(content)})


def _forms(value: str) -> tuple[bytes, ...]:
    return value.encode(), quote(value, safe="").encode(), base64.b64encode(value.encode()).rstrip(b"=")


def files(folder: Path, called: str, *, but: Iterable[Path] = ()) -> Iterator[tuple[str, bytes]]:
    """Yield every file below a folder with its bytes, but for some files or folders."""
    left_out = {str(path) for path in but}
    for top, names, found in os.walk(folder):
        names[:] = [name for name in names if str(Path(top, name)) not in left_out]
        for name in found:
            path = Path(top, name)
            if str(path) not in left_out and path.is_file() and not path.is_symlink():
                yield f"{called}:{path.relative_to(folder)}", path.read_bytes()


class Spy:
    """Looks all the time at every command line of this machine, at environments, and at folders that do not stay.

    All hosts of a lab are on this machine, so none of their processes is out of sight. `found` says what was seen.
    """

    def __init__(self, canaries: Canaries, folders: Iterable[Path], *, own: tuple[str, ...], theirs: str) -> None:
        self._canaries = canaries
        self._folders = tuple(folders)
        self._own = own
        self._theirs = theirs
        self._found: set[str] = set()
        self.looks = 0
        self.processes: set[str] = set()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def found(self) -> list[str]:
        """Return which secrets were seen where, in words."""
        return sorted(self._found)

    def _watch(self) -> None:
        me = os.getpid()
        while not self._done.is_set():
            self.looks += 1
            for pid in pids():
                if pid != me:
                    self._process(Path(f"/proc/{pid}"))
            for folder in self._folders:
                try:
                    self._found.update(self._canaries.search(files(folder, str(folder))))
                except OSError:
                    continue  # what was there is gone: it did not stay
            time.sleep(0.005)

    def _process(self, process: Path) -> None:
        """Look at one process: nobody's words may hold a secret, and what drillctl has for itself stays with it."""
        try:
            words = (process / "cmdline").read_bytes()
            line = words.replace(b"\0", b" ").decode(errors="replace")
            self._found.update(
                f"{place} is in the command line {line[:80]}" for place in self._canaries.in_bytes(words)
            )
            if line in self.processes:
                return
            self.processes.add(line)
            mode = (process / "environ").stat().st_mode
            environment = (process / "environ").read_bytes()
        except OSError:
            return
        seen = self._canaries.in_bytes(environment)
        if mode & 0o044:
            self._found.update(f"{place} is in an environment that all may read, of {line[:80]}" for place in seen)
        if self._theirs in seen and not any(word in line for word in self._own):
            self._found.add(f"{self._theirs} is in the environment of {line[:80]}")
