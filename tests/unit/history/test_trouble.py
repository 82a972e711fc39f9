"""Databases that cannot be used, as they really are: locked, read-only, damaged, away, killed in the middle."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from drillctl.errors import HistoryError, UsageError
from drillctl.history import database, trouble
from drillctl.history.address import choose
from drillctl.history.store import History

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from postgresql import Server

    from drillctl.history.sample import Sample


@pytest.fixture
def file(tmp_path: Path, make_report: Callable[..., dict[str, Any]]) -> Path:
    """A SQLite history with runs, some kilobytes long."""
    path = tmp_path / "history.db"
    with History.open(f"sqlite:///{path}") as history:
        for number in range(20):
            history.add_run(make_report(number, note=os.urandom(2000).hex()))
    return path


def refusal(what: Callable[[], object]) -> HistoryError:
    with pytest.raises(HistoryError) as caught:
        what()
    assert caught.value.state is not None
    assert "on disk" in caught.value.state
    assert caught.value.hint
    return caught.value


def test_a_locked_file(file: Path, make_report: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "SQLITE_WAIT_SECONDS", 0.2)
    with History.open(f"sqlite:///{file}") as history:
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        for what in (lambda: history.add_run(make_report(99)), history.runs):
            error = refusal(what)
            assert f"the history {file} cannot be used: another process keeps it locked" in str(error)
        other.execute("ROLLBACK")
        other.close()
        assert history.add_run(make_report(99))


def test_a_lock_that_ends_in_time_is_waited_for(file: Path, make_report: Callable[..., dict[str, Any]]) -> None:
    import threading

    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    timer = threading.Timer(0.5, lambda: other.execute("COMMIT"))
    timer.start()
    with History.open(f"sqlite:///{file}") as history:
        assert history.add_run(make_report(99))
    timer.join()
    other.close()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    path.write_bytes(b"these are my notes\n" * 100)
    error = refusal(lambda: History.open(f"sqlite:///{path}"))
    assert "the file is no SQLite database, or it is damaged" in str(error)
    assert error.hint == "move it away; `drillctl history import` takes every run of the runs folder into a new one"
    assert path.read_bytes() == b"these are my notes\n" * 100


def test_a_damaged_file(file: Path) -> None:
    size = file.stat().st_size
    with file.open("r+b") as damaged:
        damaged.seek(4096)
        damaged.write(os.urandom(size - 4096))

    def read() -> None:
        with History.open(f"sqlite:///{file}") as history:
            for run in history.runs():
                history.report(run.run_id)

    assert "damaged" in str(refusal(read))


def test_a_truncated_file(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2 // 4096 * 4096)

    def read() -> None:
        with History.open(f"sqlite:///{file}") as history:
            for run in history.runs():
                history.report(run.run_id)

    assert "damaged" in str(refusal(read))


def test_a_folder_where_the_file_should_be(tmp_path: Path) -> None:
    (tmp_path / "history.db").mkdir()
    assert "the file cannot be opened" in str(refusal(lambda: History.open(f"sqlite:///{tmp_path}/history.db")))


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    assert "cannot be used" in str(refusal(lambda: History.open(f"sqlite:///{tmp_path}/home/history.db")))


@pytest.fixture
def public(file: Path) -> Iterator[Path]:
    """The history in a folder that everybody may look into and nobody but its owner may write to."""
    folder = Path(tempfile.mkdtemp(prefix="drillctl-history-"))
    shutil.copy(file, folder / "history.db")
    (folder / "history.db").chmod(0o444)
    folder.chmod(0o555)
    yield folder / "history.db"
    folder.chmod(0o755)
    shutil.rmtree(folder)


def as_nobody(what: Callable[[], str]) -> str:
    """Return what a function says in a process that has no rights over anybody's files."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            said = what()
        except BaseException as error:  # noqa: BLE001 - the parent shows it
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    return said


def test_a_read_only_file_is_read_and_says_so_when_written_to(
    public: Path, make_report: Callable[..., dict[str, Any]]
) -> None:
    def look() -> str:
        with History.open(f"sqlite:///{public}") as history:
            return str(len(history.runs()))

    def store() -> str:
        with History.open(f"sqlite:///{public}") as history:
            return str(history.add_run(make_report(99)))

    assert as_nobody(look) == "20"
    assert as_nobody(store).startswith(f"HistoryError: the history {public} cannot be used: it is read-only")


def test_a_file_that_may_not_be_read(public: Path) -> None:
    public.chmod(0o400)
    if os.geteuid() != 0:
        pytest.skip("only root can make a file that the test itself may not read")
    said = as_nobody(lambda: str(History.open(f"sqlite:///{public}")))
    assert said.startswith(f"HistoryError: the history {public} cannot be used: the file cannot be opened")


def test_a_full_disk(tmp_path: Path, make_report: Callable[..., dict[str, Any]]) -> None:
    path = tmp_path / "history.db"
    with History.open(f"sqlite:///{path}") as history:
        with history._database.reading() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 30")
        reports = [make_report(number, note=os.urandom(20_000).hex()) for number in range(20)]
        assert "the disk is full" in str(refusal(lambda: [history.add_run(report) for report in reports]))
        stored = history.runs()
        assert 0 < len(stored) < 20
        assert history.report(stored[0].run_id) is not None


# ---- PostgreSQL


def test_without_the_driver_the_way_to_get_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UsageError) as caught:
        History.open("postgresql://drill:hidden-word@db.example/history")
    assert caught.value.hint == "pip install 'drillctl[postgresql]'"
    assert "hidden-word" not in str(caught.value)


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"postgresql://drill:hidden-word@127.0.0.1:{unused.getsockname()[1]}/history"
        error = refusal(lambda: History.open(url))
    assert "the server cannot be reached" in str(error)
    assert "hidden-word" not in str(error) + repr(error) + str(error.hint)


def test_a_wrong_password_is_refused_and_not_shown(shared_server: Server) -> None:
    error = refusal(lambda: History.open(shared_server.url(password="hidden-word")))
    assert "postgresql://drill:***@/postgres" in str(error)
    said = str(error) + str(error.hint) + repr(error) + "".join(str(c) for c in (error.__cause__, error.__context__))
    assert "hidden-word" not in said
    assert "password" in str(error)


def test_a_database_that_is_not_there(shared_server: Server) -> None:
    error = refusal(lambda: History.open(shared_server.url("nowhere")))
    assert 'database "nowhere" does not exist' in str(error)


def test_a_user_that_may_not_write(shared_server: Server, make_report: Callable[..., dict[str, Any]]) -> None:
    url = shared_server.database()
    with History.open(url) as history:
        history.add_run(make_report())
    shared_server.sql(
        url, "CREATE ROLE reader LOGIN PASSWORD 'r'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"
    )
    login = f"drill:{shared_server.password}"
    with History.open(url.replace(login, "reader:r")) as history:
        assert len(history.runs()) == 1
        error = refusal(lambda: history.add_run(make_report(1)))
        assert "this user may not do that" in str(error)
    shared_server.sql(url, "DROP OWNED BY reader; DROP ROLE reader")


def test_a_server_that_takes_no_writes(shared_server: Server, make_report: Callable[..., dict[str, Any]]) -> None:
    url = shared_server.database()
    with History.open(url) as history:
        history.add_run(make_report())
    with History.open(url + "&options=-c%20default_transaction_read_only%3Don") as history:
        assert len(history.runs()) == 1
        assert "it is read-only" in str(refusal(lambda: history.add_run(make_report(1))))


def test_a_server_that_is_killed_in_the_middle_loses_nothing_that_was_stored(
    own_server: Server, make_report: Callable[..., dict[str, Any]], make_sample: Callable[..., Sample]
) -> None:
    with History.open(own_server.database()) as history:
        history.add_run(make_report(0))

        def half() -> None:
            with history._database.writing() as connection:
                connection.exec_driver_sql("UPDATE drillctl_run SET verdict = 'half'")
                own_server.kill()
                connection.exec_driver_sql("UPDATE drillctl_run SET verdict = 'whole'")

        # The server's processes may or may not find the time to say a last word.
        said = str(refusal(half))
        assert "connection was lost" in said or "shut down in the middle" in said
        assert "the server cannot be reached" in str(refusal(lambda: history.add_samples([make_sample()])))
        own_server.restart()
        # The same History goes on: a patrol that runs for months must outlive its database's restart.
        history.add_samples([make_sample()])
        assert history.add_run(make_report(1))
        assert [run.verdict for run in history.runs()] == ["passed", "passed"]
        assert list(history.each_sample()) == [make_sample()]


def test_a_table_that_another_session_keeps_locked(
    shared_server: Server, make_report: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_LOCK_WAIT", "200ms")
    url = shared_server.database()
    with History.open(url) as history, History.open(url) as other:
        with other._database.writing() as connection:
            connection.exec_driver_sql("LOCK TABLE drillctl_run IN ACCESS EXCLUSIVE MODE")
            assert "another session keeps it locked" in str(refusal(lambda: history.add_run(make_report())))
        assert history.add_run(make_report())


def test_a_server_that_takes_too_long_to_connect_to_cannot_be_reached() -> None:
    errors = pytest.importorskip("psycopg.errors")
    error = trouble.trouble(errors.ConnectionTimeout("connection timeout expired"), choose("postgresql://u@h/d"))
    assert "the server cannot be reached" in error.message


def test_every_meaning_has_an_advice() -> None:
    for table in (trouble._SQLITE, trouble._POSTGRESQL):
        assert all(what and advice for what, advice in table.values())
