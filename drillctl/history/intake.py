"""Taking runs from their folders into the history: no run is ever lost, even one that was killed."""

from __future__ import annotations

import fcntl
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from drillctl import journal as journals
from drillctl.errors import FileError, UsageError
from drillctl.history.record import UNFINISHED, RunRecord, moment, record_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from drillctl.history.store import History

Outcome = Literal["stored", "stored as unfinished", "already there", "still runs", "not a run"]


@dataclass(frozen=True)
class Intake:
    """What became of one folder; `detail` says why where that is not plain."""

    folder: Path
    outcome: Outcome
    detail: str = ""


def folders(names: Iterable[str]) -> list[Path]:
    """Return the folders of runs that are given by path or by id; without any, every folder of the runs' folder.

    Raises UsageError for what is neither.
    """
    home = journals.runs_folder()
    found: list[Path] = []
    for name in names:
        path = Path(name) if Path(name).exists() else home / name
        path = path.parent if path.name in {"report.json", "journal.jsonl"} else path
        if not path.is_dir():
            raise UsageError(f"there is no run {name}", hint=f"runs are folders in {home}", state="nothing was stored")
        found.append(path)
    if found:
        return found
    return sorted(path for path in home.iterdir() if path.is_dir()) if home.is_dir() else []


def take(history: History, paths: Iterable[Path]) -> Iterator[Intake]:
    """Store each run that the history lacks; yield what became of it. Raises HistoryError."""
    there = history.run_ids()
    for path in paths:
        if there.get(path.name):
            yield Intake(path, "already there")
        else:
            yield _take(history, path, known=path.name in there)


def _take(history: History, path: Path, *, known: bool) -> Intake:
    document, problem = _report(path)
    if document is not None:
        try:
            record_of(document)
        except ValueError as error:
            problem = str(error)
        else:
            new = history.add_run(document)
            return Intake(path, "stored" if new else "already there")
    if known:
        return Intake(path, "already there", "as unfinished")
    record, why = unfinished(path)
    if record is None:
        return Intake(path, "still runs" if why == "still runs" else "not a run", why if why != "still runs" else "")
    return Intake(path, "stored as unfinished" if history.add_record(record) else "already there", problem)


def _report(path: Path) -> tuple[dict[str, Any] | None, str]:
    """Return the report of a run, or why there is none."""
    try:
        document = json.loads((path / "report.json").read_bytes())
    except FileNotFoundError:
        return None, "it has no report"
    except (OSError, ValueError) as error:
        return None, f"its report cannot be read: {error}"
    if not isinstance(document, dict):
        return None, "its report is no JSON object"
    return document, ""


def unfinished(path: Path) -> tuple[RunRecord | None, str]:
    """Return the record of a run that left no report, from its journal; or None and why there is none."""
    file = path / "journal.jsonl"
    try:
        with file.open("rb") as lines:
            try:
                fcntl.flock(lines, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return None, "still runs"
        records = list(journals.read(file))
    except FileNotFoundError:
        return None, "it has neither report nor journal"
    except OSError as error:
        return None, f"its journal cannot be read: {error.strerror}"
    first = next((record for record in records if record.get("event") == "run" and "at" in record), None)
    if first is None:
        return None, "its journal does not say what it is of"
    book = str(first.get("playbook_file", ""))
    record = RunRecord(
        run_id=path.name,
        inventory=str(first.get("inventory") or _inventory_name(str(first.get("inventory_file", "")))),
        playbook=str(first.get("playbook") or Path(book).stem or "unknown"),
        environment=str(first.get("environment", "")),
        verdict=UNFINISHED,
        exit_code=None,
        started_at=moment(str(first["at"])),
        finished_at=None,
        changed=any("undo" in record for record in records),
        comparable=False,
        reason="it left a journal but no report: it was killed, or its disk was full",
        drillctl_version=None,
        controller=None,
    )
    return record, ""


def _inventory_name(file: str) -> str:
    """Return the name in an inventory file; `unknown` when that is gone or cannot be read."""
    from drillctl import inventory

    try:
        return inventory.load(Path(file)).name
    except (FileError, OSError, ValueError):
        return "unknown"
