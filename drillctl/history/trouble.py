"""What a database's error means, in words: what happened, what state things are in, what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from drillctl.errors import HistoryError

if TYPE_CHECKING:
    from drillctl.history.address import Address

_KEPT = "every run's report is still on disk, in the runs folder"

# By SQLite's own result codes, https://sqlite.org/rescode.html: what is wrong, what to do.
_SQLITE = {
    "SQLITE_BUSY": ("another process keeps it locked", "try again when that process is done"),
    "SQLITE_LOCKED": ("another process keeps it locked", "try again when that process is done"),
    "SQLITE_READONLY": ("it is read-only", "give yourself the right to write to the file and its folder"),
    "SQLITE_NOTADB": (
        "the file is no SQLite database, or it is damaged",
        "move it away; `drillctl history import` takes every run of the runs folder into a new one",
    ),
    "SQLITE_CORRUPT": (
        "the file is damaged",
        "move it away; `drillctl history import` takes every run of the runs folder into a new one",
    ),
    "SQLITE_CANTOPEN": ("the file cannot be opened", "it must be a file in a folder that you may use"),
    "SQLITE_PERM": ("you may not open the file", "give yourself the right to"),
    "SQLITE_FULL": ("the disk is full", "make room"),
    "SQLITE_IOERR": ("the disk fails", "look at the system's log"),
}

# By PostgreSQL's SQLSTATE, or its first two characters, https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRESQL = {
    "28": ("it refuses the login", "check user and password, in the URL or in ~/.pgpass"),
    "3D": ("there is no such database", "create it: createdb NAME"),
    "25006": ("it is read-only", "name the server that takes writes"),
    "42501": ("this user may not do that", "let the database's owner grant it"),
    "55P03": ("another session keeps it locked", "try again when that session is done"),
    "53": ("the server has no room left", "look at the server's log"),
    "57": ("the server was shut down in the middle, or is starting", "try again when it is up"),
    "08": ("the connection was lost", "try again when the server is up"),
}


def trouble(error: Exception, address: Address) -> HistoryError:
    """Return an error of a database as an error for a person."""
    original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    code = getattr(original, "sqlite_errorname", None) or getattr(original, "sqlstate", None)
    what, advice = _meaning(original, code)
    said = address.clean(" ".join(str(original).split()))
    message = f"the history {address.shown} cannot be used: {what} ({said})"
    return HistoryError(message, hint=advice, state=_KEPT)


def is_refusal(error: Exception) -> bool:
    """Tell whether an error of storing is about what was to be stored, which no other attempt would mend."""
    if isinstance(error, HistoryError):
        return isinstance(error.__cause__, (DataError, IntegrityError))
    return isinstance(error, (ValueError, TypeError, OverflowError))  # by Python itself, before the database has a say


def _meaning(original: BaseException, code: str | None) -> tuple[str, str]:
    kinds = type(original).__mro__  # a time-out while connecting has a class of its own
    if code is not None and code.startswith("SQLITE_"):
        for name, meaning in _SQLITE.items():
            if code.startswith(name):
                return meaning
    elif code is not None:
        for key in (code, code[:2]):
            if key in _POSTGRESQL:
                return _POSTGRESQL[key]
    elif any(one.__module__.startswith("psycopg") and one.__name__ == "OperationalError" for one in kinds):
        return "the server cannot be reached, or the connection was lost", "check that it is up and its address right"
    elif isinstance(original, OSError):
        return original.strerror or "the file cannot be used", "set DRILLCTL_HOME to a folder that you can write to"
    return "the database refuses it", "report this as a bug if the database is well"
