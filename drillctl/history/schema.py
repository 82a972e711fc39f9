"""The schema of the database: which version it has, and bringing it up to the one that this drillctl knows.

Migrations run within one transaction and under a lock, so that two controllers that start at once get one schema, and
a migration that is cut short leaves the database as it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import column, select, table

from drillctl.errors import HistoryError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from drillctl.history.database import Database

VERSION_TABLE = "drillctl_schema"
"""Where Alembic keeps the version; a name of its own, because a database may be shared with other programs."""

HEAD = "0001"
"""The newest version; stated here because to ask Alembic for it would cost its import at each command."""

MIGRATIONS = Path(__file__).parent / "migrations"
"""The folder of the migrations, as Alembic wants it."""

_LOCK = 0x6472696C6C  # "drill": the key of PostgreSQL's advisory lock


def ensure(database: Database) -> None:
    """Bring an older schema up to date. Raises HistoryError when it is newer, or the database is another program's."""
    with database.reading() as connection:
        found = _version(connection, database)
    if found == HEAD:
        return
    with database.writing() as connection:
        if database.dialect == "postgresql":
            lock(connection)
        # Whoever had the lock until now may have done it all.
        if _version(connection, database) != HEAD:
            upgrade(connection)


def lock(connection: Connection) -> None:
    """Take the lock of PostgreSQL for the rest of the transaction; on SQLite, to write is to have the lock."""
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


def upgrade(connection: Connection, to: str = "head") -> None:
    """Migrate within the transaction of a connection."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def _version(connection: Connection, database: Database) -> str | None:
    """Return the version; None: an empty database. Raises HistoryError when it is not one to go on from."""
    shown = database.address.shown
    # Not by SQLAlchemy's inspector, whose import every command would pay for.
    if database.dialect == "sqlite":
        tables = set(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars())
        if tables and VERSION_TABLE not in tables:
            raise HistoryError(
                f"{shown} is the database of another program: it has tables, but no {VERSION_TABLE}",
                hint="name another file for the history",
                state="nothing was written to it",
            )
        there = VERSION_TABLE in tables
    else:
        there = connection.exec_driver_sql(f"SELECT to_regclass('{VERSION_TABLE}') IS NOT NULL").scalar_one()
    if not there:
        return None
    version = connection.execute(select(column("version_num")).select_from(table(VERSION_TABLE))).scalar()
    if version is not None and version > HEAD:
        raise HistoryError(
            f"the history {shown} is from a newer drillctl: its schema is {version}, this drillctl knows up to {HEAD}",
            hint="update drillctl here; `drillctl history import` then stores the runs that are missing",
            state="nothing was written to it; every run's report is still on disk, in the runs folder",
        )
    return None if version is None else str(version)
