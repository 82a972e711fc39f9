"""`drillctl recover` from outside: whose unfinished run it takes when an inventory is named, and when none is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drillctl.journal import Journal, read
from drillctl.undo import Undo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Ended

OURS, THEIRS = "20260101T000000Z-drill-0000", "20260102T000000Z-drill-0000"


def left_by(folder: Path, run_id: str, estate: str, inventory: Path) -> None:
    """Leave the journal of a run that was killed."""
    run = folder / "state" / "runs" / run_id
    run.mkdir(parents=True)
    journal = Journal(run / "journal.jsonl")
    journal.record("run", run_id=run_id, inventory_file=str(inventory), inventory=estate, playbook_file="playbook.yaml")
    journal.intent("fault", "a-1", Undo("service.revive", "a-1", "start it again"))
    journal.close()


@pytest.fixture(autouse=True)
def theirs(dead_estate: Path, playbook_file: Path) -> Path:
    """Return the inventory of another estate, of which a run is unfinished here: the last one on this machine."""
    other = dead_estate.with_name("other.yaml")
    other.write_text(dead_estate.read_text().replace("name: shop", "name: other"))
    left_by(dead_estate.parent, THEIRS, "other", other)
    return other


def test_a_named_inventory_is_not_given_the_run_of_another_estate(drillctl: Callable[..., Ended]) -> None:
    ended = drillctl("recover", "--inventory", "inventory.yaml")
    assert ended.code == 4, ended
    assert THEIRS not in ended.out + ended.err
    assert "a-1, b-1, gateway could not be asked what its guard holds" in ended.err, "those of the named estate"
    assert "state: nothing was changed" in ended.err
    assert "NOT put back" not in ended.out, "nothing is known to be outstanding"


def test_a_named_inventory_takes_its_own_run_before_a_later_one_of_another_estate(
    drillctl: Callable[..., Ended], dead_estate: Path
) -> None:
    left_by(dead_estate.parent, OURS, "shop", dead_estate)
    ended = drillctl("recover", "--inventory", "inventory.yaml")
    assert ended.code == 6, ended
    assert f"Putting back what {OURS} left on shop." in ended.out
    assert "NOT put back: a-1: start it again: 127.0.1.1" in ended.out


def test_a_run_is_refused_with_the_inventory_of_another_estate(drillctl: Callable[..., Ended]) -> None:
    ended = drillctl("recover", THEIRS, "--inventory", "inventory.yaml")
    assert ended.code == 2, ended
    assert f"{THEIRS} is a run of the estate other, not of shop" in ended.err
    assert "nothing was changed" in ended.err


@pytest.mark.parametrize(
    "words",
    [
        ("recover",),
        ("recover", THEIRS),
        ("recover", THEIRS[:8]),
        ("recover", "last"),
        ("recover", "--inventory", "other.yaml"),
    ],
)
def test_a_run_is_put_back_on_its_own_estate(drillctl: Callable[..., Ended], words: tuple[str, ...]) -> None:
    ended = drillctl(*words)
    assert ended.code == 6, ended
    assert f"Putting back what {THEIRS} left on other." in ended.out


def damage(folder: Path, run_id: str) -> None:
    """Cut the first line of a run's journal short."""
    journal = folder / "state" / "runs" / run_id / "journal.jsonl"
    journal.write_bytes(b'{"event": "ru\n' + journal.read_bytes().split(b"\n", 1)[1])


@pytest.mark.parametrize("words", [("recover",), ("recover", THEIRS)])
def test_a_damaged_journal_is_told_and_the_guards_are_asked(
    drillctl: Callable[..., Ended], dead_estate: Path, words: tuple[str, ...]
) -> None:
    damage(dead_estate.parent, THEIRS)
    ended = drillctl(*words)
    assert ended.code == 4, ended
    assert f"the journal of {THEIRS} is damaged in its first line" in ended.err
    assert "do not remove" in ended.err
    assert "could not be asked what its guard holds" in ended.err
    dead_estate.rename(dead_estate.with_name("away.yaml"))
    alone = drillctl(*words)
    assert alone.code == 2, alone
    assert "is damaged in its first line" in alone.err
    assert "--inventory FILE" in alone.err


def test_a_damaged_journal_does_not_keep_another_run_from_being_put_back(
    drillctl: Callable[..., Ended], dead_estate: Path
) -> None:
    left_by(dead_estate.parent, OURS, "shop", dead_estate)
    damage(dead_estate.parent, THEIRS)
    for words in (("recover",), ("recover", "--inventory", "inventory.yaml")):
        ended = drillctl(*words)
        assert ended.code == 6, ended
        assert f"Putting back what {OURS} left on shop." in ended.out


@pytest.mark.parametrize(
    ("words", "code"), [(("recover",), 2), (("report",), 2), (("run", "playbook.yaml", "--yes"), 4)]
)
def test_a_home_that_may_not_be_entered_is_no_bug(
    drillctl: Callable[..., Ended], dead_estate: Path, words: tuple[str, ...], code: int
) -> None:
    dead_estate.write_text(dead_estate.read_text() + "gates: {minimum_hours_between_drills: 1}\n")
    runs = dead_estate.parent / "state" / "runs"
    runs.rename(runs.with_name("elsewhere"))
    runs.touch()
    ended = drillctl(*words)
    assert ended.code == code, ended
    assert f"the folder of the runs cannot be read: {runs} (Not a directory)" in ended.err
    assert "DRILLCTL_HOME" in ended.err


def test_the_journal_of_a_forced_switch_says_so(drillctl: Callable[..., Ended], dead_estate: Path) -> None:
    drillctl("switch", "zone-b", "--force", "--yes", "--inventory", "inventory.yaml")
    (journal,) = (dead_estate.parent / "state" / "runs").glob("*-switch-*/journal.jsonl")
    assert next(read(journal))["force"] is True
