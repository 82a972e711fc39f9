"""Migrations: packaged, run by themselves, once, whoever comes first; and databases that are not to be touched."""

from __future__ import annotations

import multiprocessing
import shutil
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from drillctl.errors import HistoryError
from drillctl.history import address, models, schema
from drillctl.history.database import Database
from drillctl.history.store import History

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from postgresql import Server


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = Database(address.choose(url))
    yield opened
    opened.close()


def tables(database: Database) -> list[str]:
    with database.reading() as connection:
        return sorted(inspect(connection).get_table_names())


def test_the_stated_version_is_the_last_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == schema.HEAD


def test_the_migrations_make_what_the_models_say(database: Database) -> None:
    schema.ensure(database)
    with database.reading() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": schema.VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, models.Base.metadata) == []


def test_a_second_opening_changes_nothing(database: Database) -> None:
    schema.ensure(database)
    before = tables(database)
    schema.ensure(database)
    assert tables(database) == before
    assert schema.VERSION_TABLE in before


def open_one(url: str, start: object, results: object) -> None:
    """Open a history in a process of its own, at the same moment as others."""
    start.wait(20)  # type: ignore[attr-defined]
    try:
        with History.open(url) as history:
            history.runs()
        results.put("opened")  # type: ignore[attr-defined]
    except BaseException as error:  # noqa: BLE001 - the test shows it
        results.put(repr(error))  # type: ignore[attr-defined]


@pytest.mark.parametrize("attempt", range(3))
def test_controllers_that_start_at_once_get_one_schema(url: str, attempt: int) -> None:
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(3), context.Queue()
    processes = [context.Process(target=open_one, args=(url, start, results)) for _ in range(3)]
    for process in processes:
        process.start()
    said = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(30)
    assert said == ["opened"] * 3
    with History.open(url) as history:
        assert history.runs() == []


@pytest.mark.parametrize("locked", [True, False], ids=["with the lock", "without it"])
def test_it_is_the_lock_that_keeps_two_from_migrating_at_once(shared_server: Server, locked: bool) -> None:
    url = shared_server.database()
    first, second = (Database(address.choose(url)) for _ in range(2))
    said: list[str] = []

    def migrate() -> None:
        try:
            if locked:
                schema.ensure(second)
            else:
                with second.writing() as connection:
                    schema.upgrade(connection)
        except HistoryError as error:
            said.append(str(error))

    thread = threading.Thread(target=migrate)
    with first.writing() as connection:
        if locked:
            schema.lock(connection)
        schema.upgrade(connection)
        thread.start()
        # Long enough for the second to have come to where it must wait.
        thread.join(1.0)
        assert thread.is_alive()
    thread.join(30)
    first.close()
    second.close()
    assert [("duplicate key" in one or "already exists" in one) for one in said] == ([] if locked else [True])


NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.add_column("drillctl_run", sa.Column("weather", sa.Text, server_default="fair"))
"""


def test_an_older_database_is_brought_up_to_date_with_all_that_is_in_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_report: Callable[..., dict[str, Any]]
) -> None:
    with History.open(url) as history:
        history.add_run(make_report())
        before = history.runs()
    shutil.copytree(schema.MIGRATIONS, tmp_path / "migrations")
    (tmp_path / "migrations/versions/0002_weather.py").write_text(NEXT)
    monkeypatch.setattr(schema, "MIGRATIONS", tmp_path / "migrations")
    monkeypatch.setattr(schema, "HEAD", "0002")
    with History.open(url) as history:
        assert history.runs() == before
        with history._database.reading() as connection:
            assert connection.exec_driver_sql("SELECT weather FROM drillctl_run").scalar() == "fair"
    # And the drillctl of before is told.
    monkeypatch.undo()
    with pytest.raises(HistoryError, match="its schema is 0002, this drillctl knows up to 0001"):
        History.open(url)


def test_a_migration_that_is_cut_short_leaves_the_database_as_it_was(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = schema.upgrade

    def cut(connection: object) -> None:
        whole(connection)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(schema, "upgrade", cut)
    with pytest.raises(KeyboardInterrupt):
        schema.ensure(database)
    assert tables(database) == []
    monkeypatch.undo()
    schema.ensure(database)
    assert "drillctl_run" in tables(database)


def test_a_database_of_a_newer_version_is_refused_and_not_touched(database: Database, url: str) -> None:
    schema.ensure(database)
    with database.writing() as connection:
        connection.exec_driver_sql(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(HistoryError) as caught:
        History.open(url)
    assert f"is from a newer drillctl: its schema is 9999, this drillctl knows up to {schema.HEAD}" in str(caught.value)
    assert caught.value.hint is not None
    assert "update drillctl" in caught.value.hint
    with database.reading() as connection:
        assert connection.exec_driver_sql(f"SELECT version_num FROM {schema.VERSION_TABLE}").scalar() == "9999"


def test_the_file_of_another_program_is_refused_and_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "cookies.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE cookies (name TEXT)")
    before = file.read_bytes()
    with pytest.raises(HistoryError, match="the database of another program"):
        History.open(f"sqlite:///{file}")
    assert file.read_bytes() == before


def test_other_programs_may_have_tables_in_the_same_postgresql_database(shared_server: Server) -> None:
    url = shared_server.database()  # type: ignore[attr-defined]
    shared_server.sql(url, "CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('x')")
    with History.open(url) as history:
        assert history.runs() == []
    assert shared_server.sql(url, "SELECT version_num FROM alembic_version") == "x"  # type: ignore[attr-defined]
