"""The cache of fetched models: one folder for each, named by the SHA-256 of its weights.

    MODEL_CACHE/SHA256/         a packed model, whole and checked; it appeared by one rename
    MODEL_CACHE/SHA256.part/    what has been fetched so far; the next start goes on from there
    MODEL_CACHE/SHA256.lock     held by the one process that fetches; its other starts wait

A model is fetched once, however many servers start at the same time and however often they are interrupted.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import shutil
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from inference.card import CARD
from inference.checkpoint import LABELS, WEIGHTS
from inference.errors import CheckpointError, DownloadError, HashMismatchError
from inference.log import event
from inference.manifest import MANIFEST, parse_manifest
from inference.origin import PassingError, origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import IO

    from inference.address import Address
    from inference.origin import Origin

WAITS: Final = (0.5, 1, 2, 4, 8, 15, 30)
"""Seconds before each further attempt after one that brought nothing."""

_CHUNK: Final = 256 << 10
_LARGEST_MANIFEST: Final = 64 * 1024
_TOTAL: Final = ".total"  # size of the weights in bytes: those who wait show the progress of the one who fetches
_LOOK_SECONDS: Final = 0.1


def fetch(
    address: Address,
    sha256: str,
    folder: Path,
    on_progress: Callable[[float], None] = lambda _: None,
    waits: Sequence[float] = WAITS,
) -> None:
    """Make sure that ``folder``, named by ``sha256`` in its cache, holds the model with those weights.

    ``on_progress`` gets the share of the weights that is there, 0 to 1. Raises HashMismatchError if the address holds
    other weights, DownloadError if it cannot be read or stays out of reach, CheckpointError if the cache cannot be
    written. What was fetched until then stays for the next attempt.
    """
    if folder.is_dir():
        return
    part = folder.with_name(f"{folder.name}.part")
    furthest = 0.0

    def waiting() -> None:
        """Show how far the other one is; at its end there is a moment in which its part is gone already."""
        nonlocal furthest
        furthest = max(furthest, _share(part))
        on_progress(furthest)

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder.with_name(f"{folder.name}.lock"), waiting):
            if folder.is_dir():
                return
            part.mkdir(exist_ok=True)
            _Download(address, part, on_progress, waits).run(sha256)
            part.rename(folder)
            _sync(folder.parent)
    except OSError as error:
        advice = "free some space there" if error.errno == errno.ENOSPC else "it must be writable for this user"
        raise CheckpointError(f"The cache {folder.parent} cannot be written: {error.strerror}; {advice}.") from error


def discard(folder: Path) -> None:
    """Remove a model from the cache, such as one whose bytes went bad on disk; a server that runs with it keeps it."""
    doomed = folder.with_name(f"{folder.name}.bad-{os.getpid()}")
    with suppress(FileNotFoundError):  # another start came first
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


class _Download:
    def __init__(
        self, address: Address, part: Path, on_progress: Callable[[float], None], waits: Sequence[float]
    ) -> None:
        self._address = address
        self._origin: Origin = origin_of(address)
        self._part = part
        self._on_progress = on_progress
        self._waits = waits
        self._received = 0

    def run(self, sha256: str) -> None:
        """Fetch all files; the manifest is written last and the rest of the bookkeeping removed."""
        manifest = self._manifest()
        sums = parse_manifest(manifest, f"{self._address}/{MANIFEST}")
        absent = [name for name in (WEIGHTS, LABELS, CARD) if name not in sums]
        if absent:
            raise DownloadError(
                f"{self._address} is no packed model: its {MANIFEST} does not list {', '.join(absent)}."
            )
        if sums[WEIGHTS] != sha256:
            raise HashMismatchError(
                f"{self._address} holds another model: the sha256 of its weights is {sums[WEIGHTS]}, MODEL_SHA256 asks "
                f"for {sha256}. Nothing was fetched. Correct MODEL_URI or MODEL_SHA256."
            )
        for name in (LABELS, CARD, WEIGHTS):
            self._file(name, sums[name])
        # Only what is served: whatever else the manifest may list was not fetched.
        kept = "".join(f"{sums[name]}  {name}\n" for name in sorted((LABELS, CARD, WEIGHTS)))
        with (self._part / MANIFEST).open("w", encoding="ascii") as file:
            file.write(kept)
            file.flush()
            os.fsync(file.fileno())
        (self._part / _TOTAL).unlink(missing_ok=True)
        _sync(self._part)

    def _manifest(self) -> str:
        content = b""

        def read() -> None:
            nonlocal content
            with self._origin.open(MANIFEST, 0) as stream:
                content = stream.read(_LARGEST_MANIFEST + 1)

        self._until_done(read)
        try:
            text = content.decode("ascii")
        except UnicodeDecodeError:
            text = ""
        if not text or len(text) > _LARGEST_MANIFEST:
            raise DownloadError(f"{self._address}/{MANIFEST} is not a manifest; `python -m inference pack` writes one.")
        return text

    def _file(self, name: str, sha256: str) -> None:
        """Fetch one file to its end; when what was continued turns out wrong, once more from its beginning."""
        path = self._part / name
        with path.open("a+b") as file:
            resumed = os.fstat(file.fileno()).st_size > 0
            if resumed and _digest(file) == sha256:
                return
            self._until_done(lambda: self._bytes(file, name))
            if resumed and _digest(file) != sha256:
                file.truncate(0)
                self._until_done(lambda: self._bytes(file, name))
            found = _digest(file)
            if found != sha256:
                file.truncate(0)
                raise HashMismatchError(
                    f"{self._address}/{name} is damaged: the sha256 of what was fetched is {found}, its {MANIFEST} "
                    f"says {sha256}. Nothing is served. Upload the packed folder again."
                )
            os.fsync(file.fileno())

    def _bytes(self, file: IO[bytes], name: str) -> None:
        """Append what is still to come. Raises PassingError if that is not all."""
        have = file.seek(0, os.SEEK_END)
        with self._origin.open(name, have) as stream:
            if stream.start != have:
                if stream.start:
                    raise PassingError(f"{self._address}/{name}: asked from byte {have} on, got it from {stream.start}")
                file.truncate(0)
                have = 0
            if name == WEIGHTS and stream.total is not None:
                # By a rename, because half a number would be another number to those who wait.
                new = self._part / f"{_TOTAL}.new"
                new.write_text(str(stream.total), encoding="ascii")
                new.rename(self._part / _TOTAL)
            while chunk := stream.read(_CHUNK):
                file.write(chunk)
                have += len(chunk)
                self._received += len(chunk)
                if name == WEIGHTS and stream.total:
                    self._on_progress(min(1.0, have / stream.total))
            if stream.total is not None and have < stream.total:
                raise PassingError(f"{self._address}/{name}: the connection ended after {have} of {stream.total} bytes")

    def _until_done(self, attempt: Callable[[], None]) -> None:
        """Repeat an attempt while what goes wrong may pass; give up when that brings nothing any more."""
        failures = 0
        while True:
            before = self._received
            try:
                attempt()
            except PassingError as error:
                failures = 1 if self._received > before else failures + 1
                if failures > len(self._waits):
                    raise DownloadError(
                        f"{error}. Given up after {failures} attempts that brought nothing; what was fetched so far is "
                        f"kept in {self._part}, and the next start goes on from there."
                    ) from None
                wait = self._waits[failures - 1]
                event(logging.WARNING, "download interrupted", reason=str(error), again_in_seconds=wait)
                time.sleep(wait)
            else:
                return


@contextmanager
def _alone(lock: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a lock that the kernel releases when this process ends, however it ends."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waiting()
                time.sleep(_LOOK_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _share(part: Path) -> float:
    """Return how much of the weights another process has fetched, 0 to 1."""
    try:
        return min(1.0, (part / WEIGHTS).stat().st_size / int((part / _TOTAL).read_text(encoding="ascii")))
    except (OSError, ValueError, ZeroDivisionError):
        return 0.0


def _digest(file: IO[bytes]) -> str:
    file.flush()
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # IO[bytes] is what open gives


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
