"""The journal of a run: every intent and every outcome, one JSON line each, on disk before the next thing is done.

    {"at": "2026-…Z", "mono": 12.3, "event": "intent", "step": "fault", "host": "zone-a-1", "undo": {…}}
    {"at": "2026-…Z", "mono": 12.4, "event": "outcome", "step": "fault", "host": "zone-a-1", "status": "ok", …}

`at` is the wall clock in UTC, for people; `mono` is the monotonic clock in seconds, for arithmetic. `prev` chains the
records: it is the SHA-256 of the line before, as it is on disk without its newline, a line that a crash cut short
included; the first record's is 64 zeros. What was changed, removed or put in between later does not fit any more
(`broken_links`). The chain alone does not show that its end was cut off; an evidence bundle's manifest does.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drillctl.errors import Inconclusive, NotStarted, UsageError
from drillctl.undo import Outstanding, Undo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FIRST = "0" * 64
"""The `prev` of a journal's first record."""

LAST = ("last", "latest")
"""The words that name the last run."""


class Journal:
    """An append-only file; each record is synced to disk before `record` returns.

    `needed` is set to False while things are put back: a full disk must not stop that.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.needed = True
        self._lock = threading.Lock()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        # What a crash cut short ends here; the next record must not become a part of it.
        size = os.fstat(self._descriptor).st_size
        self._torn = size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"

    def claim(self) -> None:
        """Lock the journal for as long as it is open here, so that a drill that runs can be told from a killed one.

        Raises NotStarted when another process has it.
        """
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotStarted(
                f"{self.path.parent.name} still runs on this machine",
                state="nothing was changed",
                hint="Ctrl-C or SIGTERM makes it stop and put everything back",
            ) from None

    def record(self, event: str, **fields: object) -> None:
        """Append one record and sync it. Raises Inconclusive when the disk does not take it and it is needed."""
        with self._lock:  # the next record must name this one, whichever thread writes it
            about = {"at": utc_now(), "mono": round(time.monotonic(), 6), "event": event, **fields}
            try:
                about["prev"] = self._last_hash()
                line = json.dumps(about, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace") + b"\n"
                line = b"\n" + line if self._torn else line
                self._torn = os.write(self._descriptor, line) != len(line)
                os.fsync(self._descriptor)
            except OSError as error:
                self._complain(error.strerror)
            else:
                if self._torn:
                    self._complain("the disk is full")

    def _last_hash(self) -> str:
        """Return the hash of the last line on disk, whoever wrote it, whole or torn."""
        end = os.fstat(self._descriptor).st_size
        tail = b""
        while end > 0 and b"\n" not in tail[:-1]:
            start = max(0, end - 4096)
            tail = os.pread(self._descriptor, end - start, start) + tail
            end = start
        return hashlib.sha256(tail.removesuffix(b"\n").rpartition(b"\n")[2]).hexdigest() if tail else FIRST

    def _complain(self, why: str | None) -> None:
        if self.needed:
            raise Inconclusive(
                f"the journal {self.path} cannot be written: {why}",
                state="what it does not hold was not done",
                hint="make room there, or set DRILLCTL_HOME to a folder on another disk",
            )

    def intent(self, step: str, host: str, undo: Undo | None) -> None:
        """Record that a step is about to act, with the undo of what it will do."""
        self.record("intent", step=step, host=host, **({"undo": undo.to_json()} if undo else {}))

    def outcome(self, step: str, host: str, status: str, seconds: float, detail: str) -> None:
        """Record how a step ended."""
        self.record("outcome", step=step, host=host, status=status, seconds=round(seconds, 6), detail=detail)

    def undone(self, undo: Undo) -> None:
        """Record that an undo was carried out, or is no longer needed."""
        self.record("undone", undo=undo.to_json())

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a journal; a line that a crash cut short is left out."""
    with path.open("rb") as lines:
        yield from _parsed(lines)


def parse(content: bytes) -> Iterator[dict[str, Any]]:
    """Yield the records of a journal given as bytes, as `read` does (pure)."""
    yield from _parsed(content.splitlines())


def _parsed(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            # As bytes, because the cut may be within a character.
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def broken_links(content: bytes) -> list[int] | None:
    """Return the numbers, from 1, of the lines whose `prev` is not the hash of the line before (pure).

    Empty: the chain is whole. None: the journal was written by a drillctl that did not chain its records. A line that
    a crash cut short has no `prev`; the next one vouches for it.
    """
    broken: list[int] = []
    chained = False
    before = FIRST
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n"), start=1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict):
            chained = chained or "prev" in record
            if record.get("prev") != before:
                broken.append(number)
        before = hashlib.sha256(line).hexdigest()
    return broken if chained else None


def outstanding(path: Path) -> Outstanding:
    """Return the undos that a journal registered and did not strike out."""
    found = Outstanding()
    for record in read(path):
        if "undo" in record:
            undo = Undo(**record["undo"])
            (found.done if record["event"] == "undone" else found.add)(undo)
    return found


def utc_now() -> str:
    """Return the wall clock in UTC to the millisecond, as ISO 8601 with Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def runs_folder() -> Path:
    """Return the folder that holds a folder for each run; `DRILLCTL_HOME` moves it."""
    from platformdirs import user_data_path

    home = os.environ.get("DRILLCTL_HOME")
    return (Path(home) if home else user_data_path("drillctl")) / "runs"


def runs(folder: Path | None = None) -> list[str]:
    """Return the ids of the runs in a folder, by default this machine's, that have a journal, oldest first.

    Raises UsageError when the folder cannot be looked into.
    """
    folder = folder or runs_folder()
    try:
        names = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(
            f"the folder of the runs cannot be read: {folder} ({error.strerror})",
            hint="set DRILLCTL_HOME to a folder that you can read and write to",
            state="nothing was changed",
        ) from None
    return [name for name in names if _is_there(folder / name / "journal.jsonl")]


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return True  # whoever reads it is told why it cannot be read


def find(wanted: str, ids: Sequence[str], last: Sequence[str]) -> str | None:
    """Return the run that is meant: by its id, by the beginning of it, or as the `last` (or `latest`) of some (pure).

    None when there is no such run. Raises UsageError when more than one begins so.
    """
    if wanted in LAST:
        return last[-1] if last else None
    matching = [wanted] if wanted in ids else [run_id for run_id in ids if run_id.startswith(wanted)]
    if len(matching) > 1:
        shown = ", ".join(matching[:5]) + (f" and {len(matching) - 5} more" if len(matching) > 5 else "")
        raise UsageError(
            f"{len(matching)} runs begin with `{wanted}`: {shown}",
            hint="give more of the id",
            state="nothing was changed",
        )
    return matching[0] if matching else None


def new_run(playbook: str) -> tuple[str, Path]:
    """Make the folder of a new run; return its id, which sorts by time, and the folder (mode 0700)."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    run_id = f"{stamp}-{playbook}-{secrets.token_hex(2)}"
    folder = runs_folder() / run_id
    try:
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise UsageError(
            f"the folder of the run cannot be made: {folder} ({error.strerror})",
            hint="set DRILLCTL_HOME to a folder that you can write to",
            state="nothing was changed",
        ) from None
    return run_id, folder
