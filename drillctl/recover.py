"""Putting back what a drill left when it could not do so itself, from its journal and what it kept in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from drillctl import journal as journals
from drillctl import playbook as playbooks
from drillctl import restore, snapshot
from drillctl.errors import UsageError
from drillctl.journal import Journal
from drillctl.playbook import Playbook
from drillctl.run import Run
from drillctl.steps import connect
from drillctl.switchover import towards

if TYPE_CHECKING:
    from drillctl.interrupt import Interrupt
    from drillctl.inventory import Inventory
    from drillctl.run import Watcher


def unfinished(estate: Inventory | None = None) -> list[str]:
    """Return the ids of the runs on this machine whose journal has outstanding undos, oldest first.

    With an estate: of its runs alone.
    """
    folder = journals.runs_folder()
    found = sorted(path.parent.name for path in folder.glob("*/journal.jsonl"))
    left = [run_id for run_id in found if len(journals.outstanding(folder / run_id / "journal.jsonl"))]
    return [run_id for run_id in left if estate is None or _header(run_id).get("inventory") == estate.name]


def check_estate(run_id: str, estate: Inventory) -> None:
    """Refuse to put a run back on another estate than its own. Raises UsageError, also when there is no such run."""
    own = _header(run_id).get("inventory")
    if own != estate.name:
        raise UsageError(
            f"{run_id} is a run of the estate {own}, not of {estate.name}",
            hint=f"`drillctl recover {run_id}` takes the inventory that the run was made with",
            state="nothing was changed",
        )


def inventory_of(run_id: str) -> Path:
    """Return the path of the inventory that a run used. Raises UsageError when there is no such run here."""
    return Path(_header(run_id)["inventory_file"])


def carry_out(run_id: str, inventory: Inventory, interrupt: Interrupt, watcher: Watcher) -> list[str]:
    """Put everything back that a run left; return what could not be, in words. Safe to repeat.

    Raises UsageError without such a run, NotStarted while it still runs here, and HostError when a host cannot be
    reached; nothing was changed then.
    """
    header = _header(run_id)
    # A switch to the primary had the roles exchanged; the way back is then the other way round.
    inventory = towards(inventory, header.get("standby", inventory.zone("standby").name))
    folder = journals.runs_folder() / run_id
    playbook = _playbook(folder, header)
    journal = Journal(folder / "journal.jsonl")
    journal.claim()
    # Only now: until then the drill itself may still have been putting things back.
    outstanding = journals.outstanding(journal.path)
    run = Run(
        run_id=run_id,
        folder=folder,
        inventory=inventory,
        playbook=playbook,
        journal=journal,
        interrupt=interrupt,
        watcher=watcher,
        outstanding=outstanding,
        # A zone that was given up may be out of reach still, and must not keep the rest from being put back.
        force=header.get("force", False),
    )
    journal.record("recover")
    try:
        connect.carry_out(run)
        run.original = snapshot.read_original(folder)
        run.staged = snapshot.read_staged(folder)
        restore.carry_out(run, stop_started=False)
        journal.record("restored", left=run.findings.left)
    finally:
        if run.guards is not None:
            run.guards.close()
        if run.fleet is not None:
            run.fleet.close()
        journal.close()
    return run.findings.left


def _playbook(folder: Path, header: dict[str, Any]) -> Playbook:
    """Return the playbook as the run had it, with its variables; its file may be another by now."""
    kept = folder / snapshot.PLAYBOOK
    if kept.is_file():
        return Playbook.model_validate_json(kept.read_bytes())
    return playbooks.load(Path(header["playbook_file"]))


def _header(run_id: str) -> dict[str, Any]:
    """Return the first record of a run's journal."""
    path = journals.runs_folder() / run_id / "journal.jsonl"
    if not path.is_file():
        raise UsageError(
            f"there is no run {run_id} on this machine",
            hint=f"its journal would be {path}; `drillctl recover` without a run takes the last unfinished one",
            state="nothing was changed",
        )
    header = next(journals.read(path), None)
    if header is None or header["event"] != "run":
        raise UsageError(
            f"the journal of {run_id} is empty: it was killed before it did anything",
            hint=f"there is nothing to put back; remove {path.parent}",
            state="nothing was changed",
        )
    return header
