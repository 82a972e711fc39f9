"""The last drill from any machine: from a history that several machines share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from drillctl import inventory as inventories
from drillctl.errors import NotStarted
from drillctl.history.store import History
from drillctl.last_drill import of_estate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drillctl.inventory import Inventory


@pytest.fixture
def shared(inventory_file: Path, url: str) -> Inventory:
    """An estate whose history is shared, in each kind of database."""
    estate = inventories.load(inventory_file)
    return estate.model_copy(update={"history": estate.history.model_copy(update={"url": SecretStr(url)})})


def test_a_drill_from_another_machine_counts_where_the_history_is_shared(
    shared: Inventory, url: str, make_report: Callable[..., dict[str, Any]]
) -> None:
    assert of_estate(shared) is None
    with History.open(url) as history:
        history.add_run(make_report(1) | {"inventory": shared.name}, controller="another")
        expected = history.last_drill(shared.name)
    assert expected is not None
    assert of_estate(shared) == expected


def test_without_a_shared_history_none_is_made(shared: Inventory, home: Path) -> None:
    own = shared.model_copy(update={"history": shared.history.model_copy(update={"url": None})})
    assert of_estate(own) is None
    assert not (home / "history.db").exists()


def test_a_shared_history_that_cannot_be_read_is_no_proof_that_there_was_no_drill(
    shared: Inventory, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database at all" * 100)
    plan = shared.history.model_copy(update={"url": SecretStr(f"sqlite:///{broken}")})
    with pytest.raises(NotStarted, match=r"the last drill of .* from any machine is not known") as caught:
        of_estate(shared.model_copy(update={"history": plan}))
    assert "--override-gate interval" in (caught.value.hint or "")
