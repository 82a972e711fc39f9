"""Which database holds the history, and how it is named to a person: never with its password."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from drillctl.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import URL

    from drillctl.inventory import Inventory

VARIABLE = "DRILLCTL_HISTORY_URL"
_ALLOWED = "postgresql://user@host/database or sqlite:////absolute/path.db"
_SECRET = {"password", "sslpassword"}


@dataclass(frozen=True)
class Address:
    """A database. `shown` is its URL for people; `path` is the file, None for PostgreSQL."""

    url: URL
    shown: str
    path: Path | None

    def clean(self, text: str) -> str:
        """Return text without any of the URL's secrets in it."""
        for secret in self._secrets():
            text = text.replace(secret, "***")
        return text

    def _secrets(self) -> list[str]:
        found = [value for key, value in self.url.query.items() if key in _SECRET and isinstance(value, str)]
        return [secret for secret in (self.url.password, *found) if secret]


def choose(given: str | None = None, inventory: Inventory | None = None) -> Address:
    """Return the database to use: the one given, $DRILLCTL_HISTORY_URL, the inventory's, or the data folder's file.

    Raises UsageError when the URL is none that can be used.
    """
    if given:
        return _parse(given, "the URL")
    if from_environment := os.environ.get(VARIABLE):
        return _parse(from_environment, VARIABLE)
    if inventory is not None and inventory.history.url is not None:
        return _parse(inventory.history.url.get_secret_value(), f"history.url of inventory {inventory.name}")
    return _file(default_path())


def default_path() -> Path:
    """Return the file that holds the history unless something else is named: beside the runs' folder."""
    from drillctl.journal import runs_folder

    return runs_folder().parent / "history.db"


def _parse(text: str, where: str) -> Address:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
        url.host  # noqa: B018 - reading it is what parses it
    except (ArgumentError, ValueError):
        # The text may hold a password, hence none of it is shown.
        raise UsageError(f"{where} is not the URL of a database", hint=f"it must be like {_ALLOWED}") from None
    backend = url.get_backend_name()
    if backend == "sqlite":
        if not url.database or not Path(url.database).is_absolute():
            raise UsageError(f"{where} names no absolute path", hint=f"it must be like {_ALLOWED}")
        return _file(Path(url.database))
    if backend not in {"postgresql", "postgres"} or not url.database:
        raise UsageError(
            f"{where} names {'no database' if url.database is None else f'a kind that is not supported: {backend}'}",
            hint=f"it must be like {_ALLOWED}",
        )
    url = url.set(drivername="postgresql+psycopg")
    shown = url.set(drivername="postgresql").difference_update_query(_SECRET).render_as_string(hide_password=True)
    return Address(url, shown, None)


def _file(path: Path) -> Address:
    from sqlalchemy import URL

    return Address(URL.create("sqlite", database=str(path)), str(path), path)
