"""The last drill: what counts is a run of that estate that was about to change something, however it ended."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from drillctl import journal as journals
from drillctl.errors import NotStarted
from drillctl.journal import Journal
from drillctl.last_drill import LastDrill, last_drill
from drillctl.undo import Undo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

UNDO = Undo("service.revive", "a-1", "start it again")
STAGED = Undo("gateway.discard", "", "remove the staged config")


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that leaves a run behind: refused by a gate, unless it `disturbed` something."""
    monkeypatch.setenv("DRILLCTL_HOME", str(tmp_path))

    def leave(run_id: str, inventory: str = "shop", *, disturbed: bool = True) -> Path:
        folder = journals.runs_folder() / run_id
        folder.mkdir(parents=True)
        journal = Journal(folder / "journal.jsonl")
        journal.record("run", run_id=run_id, inventory=inventory)
        journal.intent("arm", "gateway", STAGED)
        if disturbed:
            journal.record("steps")
            journal.intent("fault", "a-1", UNDO)
        journal.close()
        return folder / "journal.jsonl"

    return leave


def test_there_is_none_on_a_new_machine(ran: Callable[..., Path]) -> None:
    assert last_drill("shop") is None


def test_the_newest_of_that_estate_counts(ran: Callable[..., Path]) -> None:
    before = datetime.now(UTC)
    ran("20260101T000000Z-x-0000")
    ran("20260102T000000Z-x-0000")
    ran("20260103T000000Z-x-0000", "another")
    found = last_drill("shop")
    assert found is not None
    assert found.run_id == "20260102T000000Z-x-0000"
    # When it began to disturb, not when its folder was made.
    assert before.replace(microsecond=0) <= found.at <= datetime.now(UTC)
    assert last_drill("nobody's") is None


def test_a_run_that_a_gate_refused_does_not_count(ran: Callable[..., Path]) -> None:
    ran("20260101T000000Z-x-0000")
    ran("20260102T000000Z-x-0000", disturbed=False)
    found = last_drill("shop")
    assert found is not None
    assert found.run_id == "20260101T000000Z-x-0000"


def test_a_killed_run_counts_though_its_journal_is_torn(ran: Callable[..., Path]) -> None:
    path = ran("20260101T000000Z-x-0000")
    with path.open("ab") as file:
        file.write(b'{"at": "2026-01-0')
    assert isinstance(last_drill("shop"), LastDrill)


def test_folders_that_are_no_runs_are_passed_over(ran: Callable[..., Path]) -> None:
    path = ran("20260101T000000Z-x-0000")
    (path.parent.parent / "zzz-empty").mkdir()
    (path.parent.parent / "zzz-file").touch()
    (path.parent.parent / "zzz-new").mkdir()
    (path.parent.parent / "zzz-new" / "journal.jsonl").touch()
    assert last_drill("shop") is not None


def test_a_journal_that_does_not_say_whose_it_is_is_no_proof_that_there_was_no_drill(ran: Callable[..., Path]) -> None:
    path = ran("20260101T000000Z-x-0000")
    path.write_bytes(b'{"event": "ru\n' + path.read_bytes().split(b"\n", 1)[1])
    with pytest.raises(NotStarted, match=r"is damaged in its first line: whether it was a drill of shop is not known"):
        last_drill("shop")


def test_a_runs_folder_that_cannot_be_read_is_no_proof_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRILLCTL_HOME", str(tmp_path))
    (tmp_path / "runs").touch()
    with pytest.raises(NotStarted, match="when the last drill of shop was is not known"):
        last_drill("shop")


def test_a_journal_that_cannot_be_read_is_no_proof_that_there_was_no_drill(ran: Callable[..., Path]) -> None:
    path = ran("20260101T000000Z-x-0000")
    path.unlink()
    path.mkdir()
    with pytest.raises(NotStarted, match="whether it was a drill of shop is not known"):
        last_drill("shop")
