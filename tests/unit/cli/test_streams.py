"""Nobody reads what drillctl says: real broken pipes and full disks, which change neither a drill nor its exit code."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from receiver import Receiver
from rich.console import Console

from drillctl.cli.progress import Progress
from drillctl.cli.streams import Stream
from drillctl.errors import OutputLost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Ended

DRILL = ("run", "playbook.yaml", "-i", "inventory.yaml", "--yes")
FREEZE = "gates:\n  time_zone: UTC\n  blackouts:\n  - {first_day: 2020-01-01, last_day: 2999-12-31, reason: frozen}\n"


def environment(folder: Path, **more: str) -> dict[str, str]:
    own = {"HOME": str(folder), "DRILLCTL_HOME": str(folder / "state"), "XDG_RUNTIME_DIR": str(folder)}
    return {"PATH": os.environ["PATH"]} | own | more


@contextmanager
def nobody(how: str) -> Iterator[int]:
    """Yield a descriptor that takes nothing: `pipe`, whose reader is gone, or `full`."""
    if how == "full":
        descriptor = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, descriptor = os.pipe()
        os.close(reader)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def started(folder: Path, *words: str, out: int, err: int, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "drillctl", *words],
        cwd=folder,
        env=environment(folder, **more),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        text=True,
    )


def report_of(folder: Path) -> dict[str, object]:
    (file,) = (folder / "state" / "runs").glob("*/report.json")
    found: dict[str, object] = json.loads(file.read_text())
    return found


@pytest.mark.parametrize(
    ("lost", "words", "how"),
    [
        ("out", ("--json",), "pipe"),
        ("out", ("--json",), "full"),
        ("out", (), "full"),
        ("err", ("--json",), "pipe"),
        ("err", (), "full"),
        ("both", (), "pipe"),
    ],
)
def test_a_drill_whose_words_are_lost_ends_as_any_other_and_people_are_told(
    tmp_path: Path, dead_estate: Path, playbook_file: Path, lost: str, words: tuple[str, ...], how: str
) -> None:
    dead_estate.write_text(dead_estate.read_text() + FREEZE + "notify: [{name: ops, environment: OPS_URL}]\n")
    with Receiver() as receiver, nobody(how) as gone:
        out, err = (gone if lost in {which, "both"} else subprocess.PIPE for which in ("out", "err"))
        url = f"json://127.0.0.1:{receiver.port}/hook"
        ended = started(tmp_path, *DRILL, *words, out=out, err=err, OPS_URL=url)
        printed, said = ended.communicate(timeout=60)
        assert ended.returncode == 4, said
        receiver.wait(1)
        assert len(receiver.got) == 1
    report = report_of(tmp_path)
    assert report["verdict"] == "not-started"
    if lost == "err":
        assert json.loads(printed) == report if words else "NOT-STARTED" in printed
    if lost == "out":
        why = "Broken pipe" if how == "pipe" else "No space left on device"
        assert f"the report could not be printed ({why}); it is in {report['folder']}\n" in said
        assert "bug" not in said


@pytest.mark.parametrize("words", [("--help",), ("validate", "-i", "inventory.yaml"), ("schema", "playbook")])
def test_a_full_stdout_is_an_error_in_words(tmp_path: Path, dead_estate: Path, words: tuple[str, ...]) -> None:
    with nobody("full") as full:
        ended = started(tmp_path, *words, out=full, err=subprocess.PIPE)
        _, said = ended.communicate(timeout=60)
    assert (ended.returncode, said) == (
        2,
        "error: standard output cannot be written: No space left on device\n"
        "state: a part of what was asked for is missing there\n"
        "next:  make room where it leads, or send it elsewhere, and ask again\n",
    )


@pytest.mark.parametrize("words", [("--help",), ("validate", "-i", "inventory.yaml"), ("schema", "playbook")])
def test_whoever_stops_reading_gets_the_exit_code_of_that(
    tmp_path: Path, dead_estate: Path, words: tuple[str, ...]
) -> None:
    with nobody("pipe") as gone:
        ended = started(tmp_path, *words, out=gone, err=subprocess.PIPE)
        assert (ended.communicate(timeout=60)[1], ended.returncode) == ("", 141)


def test_nothing_is_lost_because_stderr_cannot_be_written(drillctl: Callable[..., Ended], tmp_path: Path) -> None:
    with nobody("pipe") as gone:
        refused = started(tmp_path, "validate", out=subprocess.PIPE, err=gone)
        assert (refused.communicate(timeout=60)[0], refused.returncode) == ("", 2)
    assert drillctl("validate").code == 2


def test_a_stream_that_was_closed_is_not_where_a_journal_goes(
    tmp_path: Path, dead_estate: Path, playbook_file: Path
) -> None:
    command = 'exec "$0" -m drillctl "$@" >&- 2>&-'
    ended = subprocess.run(
        ["sh", "-c", command, sys.executable, *DRILL], cwd=tmp_path, env=environment(tmp_path), timeout=60, check=False
    )
    assert ended.returncode == 4
    (journal,) = (tmp_path / "state" / "runs").glob("*/journal.jsonl")
    assert all(line.startswith('{"at"') for line in journal.read_text().splitlines())


PROGRAM = """
import os, signal, sys, threading
from drillctl import drill
from drillctl.__main__ import main

def steps(run):
    sys.stdin.readline()            # the reader of what is said is gone by now
    with run.step("connect"):
        pass
    run.watcher.note("still here")
    if STOPS == "SIGINT":
        os.kill(os.getpid(), signal.SIGINT)
    else:
        threading.Thread(target=run.stop, args=(STOPS,)).start()
    run.interrupt.sleep(30)

drill._gates = steps
sys.argv = ["drillctl", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize("by", ["a stop condition: it lasts too long", "SIGINT"])
def test_a_drill_stops_although_the_reader_of_both_streams_went_away_in_the_middle(
    tmp_path: Path, dead_estate: Path, playbook_file: Path, by: str
) -> None:
    """As `drillctl run … 2>&1 | tee log` does when Ctrl-C ends tee as well."""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", f"STOPS = {by!r}\n{PROGRAM}", *DRILL],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdin=subprocess.PIPE,
        stdout=writer,
        stderr=writer,
    )
    os.close(writer)
    os.close(reader)
    process.communicate(b"\n", timeout=60)
    assert process.returncode == 5
    report = report_of(tmp_path)
    assert (report["verdict"], report["reason"]) == ("aborted", f"stopped by {by}")


def test_a_stream_raises_once_where_it_is_needed_and_drops_what_comes_then() -> None:
    with nobody("full") as full:
        needed, other = Stream(full, needed=True), Stream(full, needed=False)
        with pytest.raises(OutputLost, match="No space left on device"):
            needed.write(b"ab")
        assert (needed.write(b"ab"), other.write(b"abc"), other.lost) == (2, 3, "No space left on device")


def test_progress_goes_on_without_a_reader() -> None:
    with nobody("pipe") as gone:
        progress = Progress(Console(file=io.TextIOWrapper(io.BufferedWriter(Stream(gone, needed=False)))))
        for _ in range(3):
            progress.note("still here")
        progress.close()
