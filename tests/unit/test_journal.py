"""The journal: on disk before the next thing is done, readable after any cut, and never in the way of a restore."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drillctl import journal as journals
from drillctl.errors import Inconclusive, UsageError
from drillctl.journal import Journal
from drillctl.undo import Undo

if TYPE_CHECKING:
    from collections.abc import Callable

STOP = Undo("service.stop", "a-1", "stop the server that the drill started")
DISCARD = Undo("gateway.discard", "", "remove the staged config", {"run": "übung"})
REVIVE = Undo("service.revive", "a-1", "start the server")


def written(path: Path) -> list[Undo]:
    """Write what a drill writes until it is killed; return the undos that it leaves, the last first."""
    journal = Journal(path)
    journal.record("run", run_id="r", playbook_file="/übung.yaml")
    journal.intent("connect", "", None)
    journal.outcome("connect", "", "ok", 0.1, "3 hosts")
    journal.intent("start", "a-1", STOP)
    journal.intent("arm", "gateway", DISCARD)
    journal.undone(STOP)
    journal.intent("fault", "a-1", REVIVE)
    journal.close()
    return [REVIVE, DISCARD]


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    written(path)
    records = list(journals.read(path))
    assert [record["event"] for record in records] == [
        "run", "intent", "outcome", "intent", "intent", "undone", "intent",
    ]  # fmt: skip
    assert records[0]["playbook_file"] == "/übung.yaml"
    assert records[2] | {"status": "ok", "detail": "3 hosts", "seconds": 0.1} == records[2]
    assert "undo" not in records[1]
    assert all(record["at"].endswith("Z") for record in records)
    moments = [record["mono"] for record in records]
    assert moments == sorted(moments)


def test_what_is_outstanding_is_what_was_intended_and_not_undone(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    left = written(path)
    assert list(journals.outstanding(path)) == left


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    before = os.umask(0)
    try:
        Journal(path).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_writer_appends(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first, second = Journal(path), Journal(path)
    for number in range(50):
        (first, second)[number % 2].record("note", number=number)
    first.close()
    second.close()
    assert [record["number"] for record in journals.read(path)] == list(range(50))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1))
def test_after_a_cut_anywhere_whole_records_are_read_and_new_ones_are_found(tmp_path: Path, share: float) -> None:
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    written(path)
    whole = list(journals.read(path))
    content = path.read_bytes()
    cut = int(len(content) * share)
    path.write_bytes(content[:cut])
    # The newline that a record ends with may be missing, too.
    complete = sum(line.endswith(b"}") for line in content[:cut].splitlines())
    found = list(journals.read(path))
    assert found == whole[: len(found)]
    assert len(found) in {complete, complete - 1}

    later = Journal(path)
    later.record("recover")
    later.undone(REVIVE)
    later.close()
    again = list(journals.read(path))
    assert again[: len(found)] == found
    assert [record["event"] for record in again[len(found) :]] == ["recover", "undone"]
    assert REVIVE not in list(journals.outstanding(path))


def test_a_cut_within_a_character_costs_only_its_record(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    written(path)
    content = path.read_bytes()
    place = content.rindex("ü".encode())
    path.write_bytes(content[: place + 1])
    assert [record["event"] for record in journals.read(path)] == ["run", "intent", "outcome", "intent"]


def test_a_record_is_on_disk_when_the_program_is_killed_right_after_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    program = (
        "import os, signal, sys; from pathlib import Path; from drillctl.journal import Journal\n"
        "Journal(Path(sys.argv[1])).record('intent', step='fault')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert ended.returncode == -9
    assert [record["step"] for record in journals.read(path)] == ["fault"]


def test_words_that_are_no_text_do_not_stop_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.outcome("fault", "a-1", "ok", 1 / 3, 'a lone surrogate \ud800, a newline\n and a quote "')
    journal.close()
    (record,) = journals.read(journal.path)
    assert record["detail"].endswith('a newline\n and a quote "')


@pytest.fixture
def full() -> Journal:
    """Return a journal on a disk that takes nothing."""
    return Journal(Path("/dev/full"))


def test_what_cannot_be_recorded_is_not_done(full: Journal) -> None:
    with pytest.raises(
        Inconclusive, match="the journal /dev/full cannot be written: No space left on device"
    ) as caught:
        full.intent("fault", "a-1", REVIVE)
    assert "DRILLCTL_HOME" in (caught.value.hint or "")
    full.close()


def test_a_full_disk_does_not_stop_a_restore(full: Journal) -> None:
    full.needed = False
    full.intent("heal", "a-1", None)
    full.undone(REVIVE)
    full.close()


def test_each_run_has_a_folder_that_nobody_else_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRILLCTL_HOME", str(tmp_path / "home"))
    ids = [journals.new_run("zone-failover")[0] for _ in range(5)]
    assert len(set(ids)) == 5
    folder = journals.runs_folder() / ids[0]
    assert folder.parent == tmp_path / "home" / "runs"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").write_text("a file")
    monkeypatch.setenv("DRILLCTL_HOME", str(tmp_path / "home"))
    with pytest.raises(UsageError, match=r"the folder of the run cannot be made: .*Not a directory") as caught:
        journals.new_run("zone-failover")
    assert caught.value.state == "nothing was changed"


def test_the_wall_clock_is_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    said = datetime.fromisoformat(journals.utc_now())
    assert abs((datetime.now(UTC) - said).total_seconds()) < 5
    assert json.dumps(journals.utc_now()).endswith('Z"')


def test_records_are_chained_whoever_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first, second = Journal(path), Journal(path)
    for number in range(20):
        (first, second)[number % 2].record("note", number=number)
    first.close()
    second.close()
    content = path.read_bytes()
    assert journals.broken_links(content) == []
    assert next(journals.read(path))["prev"] == journals.FIRST


def test_records_of_many_threads_are_chained(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: journal.record("note", number=number), range(200)))
    journal.close()
    assert journals.broken_links(journal.path.read_bytes()) == []


def test_a_long_record_is_chained_as_well(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for size in (10, 4000, 4095, 4096, 4097, 9000, 10):
        journal.record("note", text="x" * size)
    journal.close()
    assert journals.broken_links(journal.path.read_bytes()) == []


CHANGES = [
    ("a byte", lambda lines: [*lines[:3], lines[3].replace(b"start", b"stort"), *lines[4:]], [5]),
    ("a record removed", lambda lines: [*lines[:3], *lines[4:]], [4]),
    ("the first removed", lambda lines: lines[1:], [1]),
    ("two swapped", lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], [3, 4, 5]),
    ("one put in", lambda lines: [*lines[:3], lines[2], *lines[3:]], [4]),
    ("one without a link", lambda lines: [*lines[:3], b'{"event": "note"}', *lines[3:]], [4, 5]),
]


@pytest.mark.parametrize(("change", "broken"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_a_change_breaks_the_chain_where_it_was_made(
    tmp_path: Path, change: Callable[[list[bytes]], list[bytes]], broken: list[int]
) -> None:
    path = tmp_path / "journal.jsonl"
    written(path)
    changed = b"\n".join(change(path.read_bytes().splitlines())) + b"\n"
    assert journals.broken_links(changed) == broken


def test_a_torn_line_is_part_of_the_chain(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    written(path)
    path.write_bytes(path.read_bytes()[:-30])
    later = Journal(path)
    later.record("recover")
    later.close()
    content = path.read_bytes()
    assert journals.broken_links(content) == []
    lines = content.splitlines()
    lines[-2] += b"x"
    assert journals.broken_links(b"\n".join(lines) + b"\n") == [len(lines)]


def test_a_journal_without_a_chain_is_read_as_before_and_said_to_have_none(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    left = written(path)
    records = [{k: v for k, v in record.items() if k != "prev"} for record in journals.read(path)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert journals.broken_links(path.read_bytes()) is None
    assert list(journals.outstanding(path)) == left
