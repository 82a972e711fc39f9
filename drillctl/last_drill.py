"""The last drill of an estate, from the journals of the runs on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from drillctl import journal as journals
from drillctl.errors import NotStarted

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class LastDrill:
    """When a drill began to change what clients may notice (aware), and the id of its run."""

    at: datetime
    run_id: str


def last_drill(inventory: str) -> LastDrill | None:
    """Return the last drill of the estate of that name; None when this machine knows of none.

    A run counts once it was through its gates and about to change something, whatever became of it then: also if it
    failed, or was killed. Raises NotStarted when a journal cannot be read, for then nobody knows.
    """
    for folder in sorted(journals.runs_folder().glob("*"), reverse=True):
        journal = folder / "journal.jsonl"
        try:
            found = _began(journal, inventory)
        except OSError as error:
            raise NotStarted(
                f"{journal} cannot be read ({error.strerror}): whether it was a drill of {inventory} is not known",
                state="nothing was changed",
                hint="make it readable, or move that run's folder away",
            ) from None
        if found is not None:
            return LastDrill(found, folder.name)
    return None


def _began(journal: Path, inventory: str) -> datetime | None:
    """Return when a run on that estate began to change something; None when it is another estate's, or did not."""
    if not journal.exists():
        return None
    began: datetime | None = None
    for number, record in enumerate(journals.read(journal)):
        if number == 0 and record.get("inventory") != inventory:
            return None
        if record.get("event") == "steps":
            began = datetime.fromisoformat(record["at"])
        if began is not None and record.get("event") == "intent" and "undo" in record:
            return began
    return None
