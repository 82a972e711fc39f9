"""The connection to the history's database: transactions to read and to write, and its errors in words."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from drillctl.errors import UsageError
from drillctl.history.trouble import trouble

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection

    from drillctl.history.address import Address

SQLITE_WAIT_SECONDS = 5.0
_CONNECT_SECONDS = "5"
_LOCK_WAIT = "10s"


class Database:
    """A database at an address. Every error of it is a HistoryError that names it, without its password."""

    def __init__(self, address: Address) -> None:
        self.address = address
        if address.path is None:
            self._engine = _postgresql(address)
        else:
            with self._spoken():
                _make_file(address.path)
            self._engine = _sqlite(address)

    @property
    def dialect(self) -> str:
        """Return `sqlite` or `postgresql`."""
        return self._engine.dialect.name

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection within a transaction that only reads. Raises HistoryError."""
        with self._spoken(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection within a transaction that may write; all of it is stored, or nothing. Raises HistoryError.

        On SQLite the lock is taken at once: a transaction that read first could not wait for it.
        """
        with self._spoken(), self._engine.connect() as connection:
            connection = connection.execution_options(drillctl_writing=True)
            with connection.begin():
                if self.dialect == "postgresql":
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'")
                yield connection

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _spoken(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            raise trouble(error, self.address) from error


def _make_file(path: Path) -> None:
    """Make the file of a new database, for its user alone; SQLite would let everybody read it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))


def _sqlite(address: Address) -> Engine:
    engine = create_engine(address.url, connect_args={"timeout": SQLITE_WAIT_SECONDS})

    @event.listens_for(engine, "connect")
    def _own_transactions(connection: DBAPIConnection, _record: object) -> None:
        # Python's own rules for when a transaction begins leave changes of the schema out of it.
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writing = connection.get_execution_options().get("drillctl_writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def _postgresql(address: Address) -> Engine:
    # A server that is gone without a word must be noticed: in seconds, not in the hours that TCP takes.
    defaults = {
        "connect_timeout": _CONNECT_SECONDS,
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        "tcp_user_timeout": "15000",
        "application_name": "drillctl",
    }
    url = address.url.update_query_dict({key: v for key, v in defaults.items() if key not in address.url.query})
    try:
        # Asking a pooled connection first costs a round trip, and a restart of the server costs no sample.
        return create_engine(url, pool_pre_ping=True, pool_size=2, hide_parameters=True)
    except ImportError:
        raise UsageError(
            f"the history {address.shown} wants PostgreSQL's driver, which is not installed",
            hint="pip install 'drillctl[postgresql]'",
            state="nothing was stored",
        ) from None
