"""Runs are taken in from their folders: none is lost, also those that were killed or could not be stored."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from drillctl.errors import UsageError
from drillctl.history import intake
from drillctl.journal import Journal
from drillctl.undo import Undo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drillctl.history.store import History


@pytest.fixture
def folder(home: Path, make_report: Callable[..., dict[str, Any]]) -> Callable[..., Path]:
    """Return a function that makes the folder of a run, with a report unless it is told another content."""

    def make(number: int, content: str | None = None, **more: Any) -> Path:
        report = make_report(number, **more)
        path = home / "runs" / report["run_id"]
        path.mkdir(parents=True)
        (path / "report.json").write_text(json.dumps(report) if content is None else content)
        return path

    return make


def journal(path: Path, *, changed: bool) -> Journal:
    path.mkdir(parents=True, exist_ok=True)
    opened = Journal(path / "journal.jsonl")
    opened.record("run", run_id=path.name, playbook_file="/srv/zone-failover.yaml", inventory="shop", environment="lab")
    opened.intent("fault", "a-1", Undo("service.revive", "a-1", {}) if changed else None)
    return opened


def outcomes(history: History, *names: str) -> dict[str, str]:
    return {one.folder.name[-4:]: one.outcome for one in intake.take(history, intake.folders(names))}


def test_what_is_missing_is_stored_and_the_rest_left_alone(history: History, folder: Callable[..., Path]) -> None:
    folder(0)
    folder(1, verdict="aborted")
    assert outcomes(history) == {"0000": "stored", "0001": "stored"}
    folder(2, verdict="not-started")
    assert outcomes(history) == {"0000": "already there", "0001": "already there", "0002": "stored"}
    assert [run.verdict for run in history.runs()] == ["not-started", "aborted", "passed"]


def test_one_run_is_named_by_folder_by_file_or_by_id(history: History, folder: Callable[..., Path]) -> None:
    one, two, three = (folder(number) for number in range(3))
    folder(3)
    assert len(outcomes(history, str(one), str(two / "report.json"), three.name)) == 3
    assert len(history.runs()) == 3
    with pytest.raises(UsageError, match="there is no run nowhere"):
        intake.folders(["nowhere"])


def test_without_a_runs_folder_there_is_nothing(history: History) -> None:
    assert outcomes(history) == {}


def test_a_killed_run_is_stored_as_unfinished(history: History, home: Path) -> None:
    path = home / "runs" / "20261101T120000Z-zone-failover-dead"
    journal(path, changed=True).close()
    assert outcomes(history) == {"dead": "stored as unfinished"}
    run = history.runs()[0]
    assert (run.verdict, run.exit_code, run.changed, run.comparable) == ("unfinished", None, True, False)
    assert (run.inventory, run.playbook, run.environment) == ("shop", "zone-failover", "lab")
    assert abs((datetime.now(UTC) - run.started_at).total_seconds()) < 60
    assert history.last_drill("shop") is not None
    assert outcomes(history) == {"dead": "already there"}


def test_a_run_that_goes_on_is_not_taken_for_a_killed_one(history: History, home: Path) -> None:
    path = home / "runs" / "20261101T120000Z-zone-failover-0a0a"
    running = journal(path, changed=False)
    running.claim()
    assert outcomes(history) == {"0a0a": "still runs"}
    running.close()
    assert outcomes(history) == {"0a0a": "stored as unfinished"}
    assert history.last_drill("shop") is None


def test_an_unfinished_run_whose_report_turns_up_becomes_whole(history: History, folder: Callable[..., Path]) -> None:
    path = folder(0)
    report = (path / "report.json").read_bytes()
    (path / "report.json").write_bytes(report[: len(report) // 2])
    journal(path, changed=True).close()
    taken = list(intake.take(history, [path]))
    assert (taken[0].outcome, taken[0].detail[:26]) == ("stored as unfinished", "its report cannot be read:")
    (path / "report.json").write_bytes(report)
    assert outcomes(history) == {"0000": "stored"}
    assert [run.verdict for run in history.runs()] == ["passed"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"run_id": 3}', "\x00\x01", '{"run_id":"x","verdict":null}'])
def test_what_is_no_run_is_told_and_the_others_are_stored(
    history: History, folder: Callable[..., Path], content: str
) -> None:
    folder(0, content)
    folder(1)
    assert outcomes(history) == {"0000": "not a run", "0001": "stored"}
