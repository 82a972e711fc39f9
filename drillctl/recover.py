"""Putting back what a drill left when it could not do so itself, from its journal and what it kept in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drillctl import journal as journals
from drillctl import playbook as playbooks
from drillctl import restore, snapshot, takeover
from drillctl.errors import HostError, UsageError
from drillctl.journal import Journal
from drillctl.playbook import Playbook
from drillctl.run import Run
from drillctl.switchover import towards

if TYPE_CHECKING:
    from drillctl.interrupt import Interrupt
    from drillctl.inventory import Inventory
    from drillctl.run import Watcher


@dataclass(frozen=True)
class Recovered:
    """What came of it, in words: what could not be put back is `left`; `over` is what guards had let go of before.

    `acted`: whether there was any host on which something could be put back.
    """

    left: list[str]
    over: list[str]
    acted: bool


class Damaged(UsageError):
    """The journal of a run does not say any more which estate it was made on, or cannot be read."""


def unfinished(estate: Inventory | None = None) -> list[str]:
    """Return the ids of the runs on this machine whose journal has outstanding undos, oldest first.

    With an estate: of its runs alone. Damaged journals are left out. Raises UsageError when the runs cannot be listed.
    """
    return [run_id for run_id in _runs_of(estate) if len(journals.outstanding(_journal(run_id)))]


def damaged() -> dict[str, Damaged]:
    """Return the runs on this machine whose journal is damaged, with what is wrong. Raises UsageError as above."""
    found: dict[str, Damaged] = {}
    for run_id in journals.runs():
        try:
            _header(run_id)
        except Damaged as error:
            found[run_id] = error
        except UsageError:
            continue  # it is empty
    return found


def find(wanted: str, estate: Inventory | None = None) -> str:
    """Return the id of the run that is meant: by its id, the beginning of it, or as the `last` on an estate.

    Raises UsageError when there is none, or more than one.
    """
    found = journals.find(wanted, journals.runs(), _runs_of(estate) if wanted in journals.LAST else ())
    if found is None:
        raise _no_run(wanted)
    return found


def _runs_of(estate: Inventory | None) -> list[str]:
    """Return the runs on an estate, or on any, whose journal can be used."""

    def fits(run_id: str) -> bool:
        try:
            return _header(run_id).get("inventory") == estate.name if estate is not None else bool(_header(run_id))
        except UsageError:
            return False

    return [run_id for run_id in journals.runs() if fits(run_id)]


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


def carry_out(
    run_id: str, inventory: Inventory, interrupt: Interrupt, watcher: Watcher, *, insist: bool = False
) -> Recovered:
    """Put everything back that a run left, as far as guards still hold it (takeover.py). Safe to repeat.

    What is on a host that cannot be reached is left, and the rest is put back. `insist`: go by the journal alone where
    a guard has no record of any run. Raises UsageError without such a run, and NotStarted while it still runs here, or
    another run took a host meanwhile.
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
        run.original = snapshot.read_original(folder)
        run.staged = snapshot.read_staged(folder)
        recovered = _put_back(run, insist=insist)
        journal.record("restored", left=recovered.left)
    finally:
        if run.guards is not None:
            run.guards.close()
        if run.fleet is not None:
            run.fleet.close()
        journal.close()
    return recovered


def _put_back(run: Run, *, insist: bool) -> Recovered:
    try:
        taken = takeover.carry_out(run, insist=insist)
    except HostError as error:
        # A host was lost while the leases were taken: all that the run left is there still, also on hosts out of reach.
        outstanding = journals.outstanding(run.journal.path)
        return Recovered([f"{undo.host or 'gateway'}: {undo.words}: {error}" for undo in outstanding], [], True)
    restore.carry_out(run, stop_started=False)
    return Recovered(run.findings.left + taken.left, taken.over, bool(taken.hosts))


def _playbook(folder: Path, header: dict[str, Any]) -> Playbook:
    """Return the playbook as the run had it, with its variables; its file may be another by now."""
    kept = folder / snapshot.PLAYBOOK
    if kept.is_file():
        return Playbook.model_validate_json(kept.read_bytes())
    return playbooks.load(Path(header["playbook_file"]))


def _journal(run_id: str) -> Path:
    return journals.runs_folder() / run_id / "journal.jsonl"


def _no_run(run_id: str) -> UsageError:
    return UsageError(
        f"there is no run {run_id} on this machine",
        hint=f"its journal would be {_journal(run_id)}; `drillctl recover` without a run takes the last unfinished one",
        state="nothing was changed",
    )


def _header(run_id: str) -> dict[str, Any]:
    """Return the first record of a run's journal. Raises UsageError without one, Damaged when it cannot be read."""
    path = _journal(run_id)
    try:
        with path.open("rb") as file:
            first = file.readline()
    except (FileNotFoundError, NotADirectoryError):
        raise _no_run(run_id) from None
    except OSError as error:
        raise Damaged(
            f"the journal of {run_id} cannot be read: {path} ({error.strerror})",
            hint="make it readable; `drillctl recover --inventory FILE` puts back what the guards of an estate hold",
            state="nothing was changed",
        ) from None
    header = next(journals.parse(first), None)
    if header is not None and header.get("event") == "run":
        return header
    if not first.endswith(b"\n"):
        # Its only line, cut short: no undo is written down before that line is on disk.
        raise UsageError(
            f"the journal of {run_id} is empty: it was killed before it did anything",
            hint=f"there is nothing to put back; remove {path.parent}",
            state="nothing was changed",
        )
    raise Damaged(
        f"the journal of {run_id} is damaged in its first line: on which estate it drilled is not known",
        hint=f"do not remove {path.parent} yet; "
        "`drillctl recover --inventory FILE` puts back what the guards of an estate hold",
        state="nothing was changed",
    )
