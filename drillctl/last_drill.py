"""The last drill of an estate, from the journals of the runs on this machine and a history that machines share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from drillctl import journal as journals
from drillctl.errors import HistoryError, NotStarted, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from drillctl.inventory import Inventory


@dataclass(frozen=True)
class LastDrill:
    """When a drill began to change what clients may notice, its run, and when it ended, if that is known (aware)."""

    at: datetime
    run_id: str
    ended: datetime | None = None


@dataclass(frozen=True)
class Unknown:
    """That nobody knows when the last drill was, and why."""

    why: str


def of_estate(inventory: Inventory) -> LastDrill | None:
    """Return the last drill of an estate from any machine whose runs go to its history, or from this one.

    Raises NotStarted when a journal or that history cannot be read, for then nobody knows.
    """
    from drillctl.history import address
    from drillctl.history.store import History

    here = last_drill(inventory.name)
    if address.choose(None, inventory).path == address.default_path():
        return here  # of this machine alone, whose journals say more
    try:
        with History.open(inventory=inventory) as history:
            anywhere = history.last_drill(inventory.name)
    except HistoryError as error:
        raise NotStarted(
            f"the last drill of {inventory.name} from any machine is not known: {error.message}",
            state="nothing was changed",
            hint="make the history reachable, or override the gate with --override-gate interval --reason REASON",
        ) from None
    return max((last for last in (here, anywhere) if last is not None), key=lambda last: last.at, default=None)


def last_drill(inventory: str) -> LastDrill | None:
    """Return the last drill of the estate of that name; None when this machine knows of none.

    A run counts once it was through its gates and about to change something, whatever became of it then: also if it
    failed, or was killed. Raises NotStarted when a journal cannot be read, for then nobody knows.
    """
    try:
        runs = journals.runs()
    except UsageError as error:
        raise NotStarted(
            f"{error.message}: when the last drill of {inventory} was is not known",
            state="nothing was changed",
            hint=error.hint,
        ) from None
    for run_id in reversed(runs):
        journal = journals.runs_folder() / run_id / "journal.jsonl"
        try:
            found = _began(journal, inventory)
        except OSError as error:
            raise NotStarted(
                f"{journal} cannot be read ({error.strerror}): whether it was a drill of {inventory} is not known",
                state="nothing was changed",
                hint="make it readable, or move that run's folder away",
            ) from None
        if found is not None:
            return LastDrill(found, run_id)
    return None


def _began(journal: Path, inventory: str) -> datetime | None:
    """Return when a run on that estate began to change something; None when it is another estate's, or did not."""
    began: datetime | None = None
    for number, record in enumerate(journals.read(journal)):
        if number == 0 and record.get("event") != "run":
            raise NotStarted(
                f"{journal} is damaged in its first line: whether it was a drill of {inventory} is not known",
                state="nothing was changed",
                hint="move that run's folder out of the folder of the runs; it is evidence of what was drilled",
            )
        if number == 0 and record.get("inventory") != inventory:
            return None
        if record.get("event") == "steps":
            began = datetime.fromisoformat(record["at"])
        if began is not None and record.get("event") == "intent" and "undo" in record:
            return began
    return None
