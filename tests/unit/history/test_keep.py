"""A run is stored at its end; what goes wrong with that is said, and is nothing to the verdict."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from drillctl import inventory as inventories
from drillctl.history.keep import keep_run
from drillctl.history.store import History
from drillctl.report.model import EqualityCounts, ModelIdentity, Recovery, Report, Restore, TrafficCounts

if TYPE_CHECKING:
    from pathlib import Path

    from postgresql import Server

    from drillctl.inventory import Inventory


@pytest.fixture
def report() -> Report:
    return Report(
        run_id="20261101T120000Z-zone-failover-0001",
        playbook="zone-failover",
        description="a drill",
        inventory="shop",
        environment="staging",
        verdict="aborted",
        meaning="it was stopped",
        reason="Ctrl-C",
        hint=None,
        exit_code=5,
        started_at="2026-11-01T12:00:00.000Z",
        finished_at="2026-11-01T12:00:22.000Z",
        seconds=22.0,
        recovery=Recovery(rto_seconds=300),
        traffic=TrafficCounts(rate=50),
        equality=EqualityCounts(rule="exact"),
        model=ModelIdentity(expected_sha256="ab" * 32),
        restore=Restore(verdict="complete", failed_requests=None, config_identical=True, seconds=None, left=[]),
        objectives=[],
        not_proven=[],
        deviations=[],
        steps=[],
        config_diff="",
        folder="/home/me/runs/20261101T120000Z-zone-failover-0001",
    )


@pytest.fixture
def estate(inventory_file: Path) -> Inventory:
    return inventories.load(inventory_file)


def test_a_run_is_stored_whatever_its_verdict(report: Report, estate: Inventory) -> None:
    said: list[str] = []
    assert keep_run(report, estate, said.append)
    assert said == []
    with History.open() as history:
        assert [(run.run_id, run.verdict, run.changed) for run in history.runs()] == [(report.run_id, "aborted", True)]
        assert history.report(report.run_id) == report.model_dump(mode="json")


def test_a_broken_history_is_told_with_the_way_to_mend_it(report: Report, estate: Inventory, home: Path) -> None:
    home.mkdir()
    (home / "history.db").write_bytes(b"no database" * 1000)
    said: list[str] = []
    assert not keep_run(report, estate, said.append)
    assert said == [
        f"this run is not in the history: the history {home}/history.db cannot be used: the file is no SQLite "
        "database, or it is damaged (file is not a database)\n"
        f"state: the verdict stands; the report is on disk: {report.folder}/report.json\n"
        "next:  move it away; `drillctl history import` takes every run of the runs folder into a new one; "
        f"then `drillctl history import {report.run_id}`"
    ]


def test_a_server_that_hangs_is_given_up(
    report: Report, estate: Inventory, own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = own_server.database()
    monkeypatch.setenv("DRILLCTL_HISTORY_URL", url)
    said: list[str] = []
    own_server.pause()
    began = time.monotonic()
    assert not keep_run(report, estate, said.append, within=1.0)
    assert time.monotonic() - began < 3
    own_server.go_on()
    assert "the database did not answer within 1 s" in said[0]
    assert own_server.password not in said[0]


def test_an_interruption_meanwhile_leaves_the_verdict_alone(
    report: Report, estate: Inventory, own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRILLCTL_HISTORY_URL", own_server.database())
    said: list[str] = []
    own_server.pause()
    # What is started in the background by a shell, as these tests may be, ignores it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    assert not keep_run(report, estate, said.append, within=10.0)
    own_server.go_on()
    timer.join()
    signal.signal(signal.SIGINT, before)
    assert "you stopped it" in said[0]
    assert f"drillctl history import {report.run_id}" in said[0]
