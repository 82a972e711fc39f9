"""Which database is used, and that no password is ever shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drillctl import inventory as inventories
from drillctl.errors import UsageError
from drillctl.history import address

if TYPE_CHECKING:
    from pathlib import Path


def test_the_given_one_then_the_variable_then_the_inventory_then_the_data_folder(
    home: Path, inventory_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert address.choose().path == home / "history.db"
    plain = inventories.load(inventory_file)
    assert address.choose(inventory=plain).path == home / "history.db"
    inventory_file.write_text(inventory_file.read_text() + "history: {url: 'sqlite:////srv/estate.db'}\n")
    estate = inventories.load(inventory_file)
    assert address.choose(inventory=estate).shown == "/srv/estate.db"
    monkeypatch.setenv("DRILLCTL_HISTORY_URL", "sqlite:////srv/variable.db")
    assert address.choose(inventory=estate).shown == "/srv/variable.db"
    assert address.choose("sqlite:////srv/given.db", estate).shown == "/srv/given.db"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://drill:s3cr3t@db.example/history", "postgresql://drill:***@db.example/history"),
        ("postgresql+psycopg://drill:s3cr3t@db.example/history", "postgresql://drill:***@db.example/history"),
        ("postgresql://db.example/history?user=me&password=s3cr3t", "postgresql://db.example/history?user=me"),
        ("postgresql://drill@/history?host=/run/postgresql", "postgresql://drill@/history?host=%2Frun%2Fpostgresql"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    found = address.choose(url)
    assert found.shown == shown
    if "s3cr3t" in url:
        assert found.clean("the server said s3cr3t") == "the server said ***"


@pytest.mark.parametrize(
    "url",
    [
        "s3cr3t",
        "postgresql://drill:s3cr3t@db.example:port/history",
        "postgresql://drill:s3cr3t@db.example",
        "mysql://drill:s3cr3t@db.example/history",
        "sqlite:///relative.db",
        "sqlite://",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_being_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRILLCTL_HISTORY_URL", url)
    with pytest.raises(UsageError) as caught:
        address.choose()
    assert caught.value.message.startswith("DRILLCTL_HISTORY_URL ")
    assert "s3cr3t" not in str(caught.value) + str(caught.value.hint) + str(caught.value.__cause__)


def test_the_inventory_does_not_give_its_password_away(inventory_file: Path) -> None:
    inventory_file.write_text(
        inventory_file.read_text() + "history: {url: 'postgresql://drill:s3cr3t@db.example/history'}\n"
    )
    estate = inventories.load(inventory_file)
    assert "s3cr3t" not in repr(estate) + str(estate) + estate.model_dump_json() + str(estate.model_dump())
