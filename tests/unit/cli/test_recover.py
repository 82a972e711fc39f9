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
    assert ended.code == 6, ended
    assert THEIRS not in ended.out + ended.err
    assert "NOT put back: a-1" in ended.out, "the guards of the named estate were asked"


def test_a_named_inventory_takes_its_own_run_before_a_later_one_of_another_estate(
    drillctl: Callable[..., Ended], dead_estate: Path
) -> None:
    left_by(dead_estate.parent, OURS, "shop", dead_estate)
    ended = drillctl("recover", "--inventory", "inventory.yaml")
    assert ended.code == 4, ended
    assert f"Putting back what {OURS} left on shop." in ended.out


def test_a_run_is_refused_with_the_inventory_of_another_estate(drillctl: Callable[..., Ended]) -> None:
    ended = drillctl("recover", THEIRS, "--inventory", "inventory.yaml")
    assert ended.code == 2, ended
    assert f"{THEIRS} is a run of the estate other, not of shop" in ended.err
    assert "nothing was changed" in ended.err


@pytest.mark.parametrize("words", [("recover",), ("recover", THEIRS), ("recover", "--inventory", "other.yaml")])
def test_a_run_is_put_back_on_its_own_estate(drillctl: Callable[..., Ended], words: tuple[str, ...]) -> None:
    ended = drillctl(*words)
    assert ended.code == 4, ended
    assert f"Putting back what {THEIRS} left on other." in ended.out


def test_the_journal_of_a_forced_switch_says_so(drillctl: Callable[..., Ended], dead_estate: Path) -> None:
    drillctl("switch", "zone-b", "--force", "--yes", "--inventory", "inventory.yaml")
    (journal,) = (dead_estate.parent / "state" / "runs").glob("*-switch-*/journal.jsonl")
    assert next(read(journal))["force"] is True
