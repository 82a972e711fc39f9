"""Processes of the lab: written down before they run, told apart by start time, ended by pid."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from drillctl.lab import process
from drillctl.lab.process import Process

if TYPE_CHECKING:
    from pathlib import Path


def start(tmp_path: Path, *argv: str, written: list[Process] | None = None, **environment: str) -> Process:
    record = written if written is not None else []
    return process.start(
        argv, environment={"PATH": os.defpath, **environment}, log=tmp_path / "log", written_down=record.append
    )


def test_a_program_is_written_down_with_the_identity_it_then_has(tmp_path: Path) -> None:
    written: list[Process] = []
    started = start(tmp_path, "sleep", "60", written=written)
    try:
        assert written == [started]
        assert started.alive
        assert os.getsid(started.pid) == started.pid
    finally:
        process.end([started], grace=1)
    assert not started.alive


def test_a_program_whose_record_fails_never_runs(tmp_path: Path) -> None:
    seen: list[Process] = []

    def killed(made: Process) -> None:
        seen.append(made)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process.start(
            ["touch", str(tmp_path / "ran")],
            environment={"PATH": os.defpath},
            log=tmp_path / "log",
            written_down=killed,
        )
    assert process.gone(seen, within=5)
    assert not (tmp_path / "ran").exists()


def test_output_goes_to_the_log_and_input_is_empty(tmp_path: Path) -> None:
    started = start(tmp_path, "sh", "-c", "cat; echo out; echo err >&2")
    assert process.gone([started], within=5)
    assert (tmp_path / "log").read_text() == "out\nerr\n"


def test_a_process_that_got_the_pid_later_is_left_alone(tmp_path: Path) -> None:
    started = start(tmp_path, "sleep", "60")
    try:
        earlier = Process(started.pid, started.started - 1)
        assert not earlier.alive
        assert not earlier.send(signal.SIGKILL)
        assert process.end([earlier], grace=0) == []
        assert started.alive
    finally:
        process.end([started], grace=1)


def test_one_that_is_stopped_or_ignores_sigterm_is_ended_too(tmp_path: Path) -> None:
    stubborn = start(tmp_path, "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
    stopped = start(tmp_path, "sleep", "60")
    stopped.send(signal.SIGSTOP)
    time.sleep(0.1)
    assert set(process.end([stubborn, stopped], grace=0.3)) == {stubborn, stopped}
    assert not stubborn.alive
    assert not stopped.alive


def test_descendants_are_found_through_their_parents(tmp_path: Path) -> None:
    started = start(tmp_path, "sh", "-c", "sh -c 'sleep 60; :' & wait")
    deadline = time.monotonic() + 5
    while len(process.descendants([started])) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    below = process.descendants([started])
    assert len(below) == 2
    process.end([started, *below], grace=1)


def test_what_carries_a_token_is_found_and_nothing_else(tmp_path: Path) -> None:
    ours = start(tmp_path, "sleep", "60", DRILLCTL_TEST="token-1")
    other = start(tmp_path, "sleep", "60", DRILLCTL_TEST="token-12")
    try:
        deadline = time.monotonic() + 5
        while not process.carrying("DRILLCTL_TEST=token-1") and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.carrying("DRILLCTL_TEST=token-1") == [ours]
    finally:
        process.end([ours, other], grace=1)
