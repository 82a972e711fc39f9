"""The connection: a new file is private, a transaction is whole or nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from drillctl.history.store import History

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_new_file_is_for_its_user_alone_whatever_the_umask(home: Path) -> None:
    before = os.umask(0)
    try:
        History.open().close()
    finally:
        os.umask(before)
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "history.db").stat().st_mode & 0o777 == 0o600


def test_nothing_stays_beside_the_file(home: Path, make_report: Callable[..., dict[str, Any]]) -> None:
    with History.open() as history:
        history.add_run(make_report())
        assert [path.name for path in home.iterdir()] == ["history.db"]


def test_a_transaction_that_fails_leaves_nothing(history: History, make_report: Callable[..., dict[str, Any]]) -> None:
    history.add_run(make_report())

    def half() -> None:
        with history._database.writing() as connection:
            connection.exec_driver_sql("DELETE FROM drillctl_report")
            connection.exec_driver_sql("DELETE FROM drillctl_run")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert len(history.runs()) == 1


def test_what_another_controller_stored_is_seen_at_once(
    history: History, url: str, make_report: Callable[..., dict[str, Any]]
) -> None:
    assert history.runs() == []
    with History.open(url) as other:
        other.add_run(make_report())
    assert len(history.runs()) == 1
