"""The guard's undos of faults: each repeatable, safe when the fault was never made, and under every shell."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Guard, Zone


@pytest.fixture
def session(guard: Guard) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A service as drillctl starts it: a session of its own, whose leader a pidfile names with its start time."""
    process = subprocess.Popen(["sh", "-c", "sleep 300 & sleep 300"], start_new_session=True)
    born = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()[19]
    pidfile = guard.top / "service.pid"
    pidfile.write_text(f"{process.pid} {born}\n")
    state_becomes(process.pid, "S")  # until it has started its children, it waits in another state
    yield process, pidfile
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[0]


def state_becomes(pid: int, wanted: str) -> None:
    deadline = time.monotonic() + 5
    while state(pid) != wanted:
        assert time.monotonic() < deadline, state(pid)
        time.sleep(0.01)


def test_stopped_processes_go_on_again(guard: Guard, session: tuple[subprocess.Popen[bytes], Path]) -> None:
    process, pidfile = session
    guard.acquire()
    guard.say("register", "1", "service.continue", "service.continue", "process", str(pidfile), "-")
    os.killpg(process.pid, signal.SIGSTOP)
    state_becomes(process.pid, "T")
    guard.say("undo", "1")
    state_becomes(process.pid, "S")
    assert guard.show().orders == ()


def test_what_stops_processes_again_and_again_is_ended_first(
    guard: Guard, session: tuple[subprocess.Popen[bytes], Path]
) -> None:
    process, pidfile = session
    token = guard.top / "token"
    token.touch()
    loop = 'while [ -e "$0" ]; do kill -STOP -- "-$1"; sleep 0.05; kill -CONT -- "-$1"; sleep 0.01; done'
    slower = subprocess.Popen(["bash", "-c", loop, str(token), str(process.pid)])
    guard.acquire()
    guard.say("register", "1", "service.continue", "service.continue", "process", str(pidfile), str(token))
    guard.say("undo", "1")
    assert not token.exists()
    assert slower.wait(5) == 0
    assert state(process.pid) == "S"


def test_a_pid_that_means_another_process_by_now_is_left_alone(
    guard: Guard, session: tuple[subprocess.Popen[bytes], Path]
) -> None:
    process, pidfile = session
    pidfile.write_text(f"{process.pid} 1\n")
    os.killpg(process.pid, signal.SIGSTOP)
    guard.acquire()
    guard.say("register", "1", "service.continue", "service.continue", "process", str(pidfile), "-")
    guard.say("undo", "1")
    assert state(process.pid) == "T"


def test_a_file_that_was_moved_aside_comes_back_once(guard: Guard) -> None:
    live, kept = guard.top / "model.bin", guard.top / ".drillctl-kept-model.bin"
    kept.write_bytes(b"the model")
    live.write_bytes(b"the mOdel")
    guard.acquire()
    guard.say("register", "1", "file.put-back", "file.put-back", str(live), str(kept))
    guard.say("undo", "1")
    assert live.read_bytes() == b"the model"
    assert not kept.exists()
    guard.say("register", "1", "file.put-back", "file.put-back", str(live), str(kept))
    guard.say("undo", "1")
    assert live.read_bytes() == b"the model", "nothing was kept: there is nothing to put back"


def test_a_copy_that_is_still_in_the_making_is_removed_when_a_file_is_put_back(guard: Guard) -> None:
    live, kept = guard.top / "model.bin", guard.top / ".drillctl-kept-model.bin"
    copy = guard.top / ".drillctl-kept-model.bin.copy"
    live.write_bytes(b"the model")
    copy.write_bytes(b"the mO")
    guard.acquire()
    guard.say("register", "1", "file.put-back", "file.put-back", str(live), str(kept))
    guard.say("undo", "1")
    assert live.read_bytes() == b"the model"
    assert not copy.exists()


def test_a_file_comes_back_in_the_place_of_a_link_that_somebody_put_there(guard: Guard) -> None:
    """As a service can do that owns its model's folder: nothing must be moved to where the link leads."""
    live, kept, elsewhere = guard.top / "model.bin", guard.top / ".drillctl-kept-model.bin", guard.top / "elsewhere"
    elsewhere.mkdir()
    kept.write_bytes(b"the model")
    live.symlink_to(elsewhere)
    guard.acquire()
    guard.say("register", "1", "file.put-back", "file.put-back", str(live), str(kept))
    guard.say("undo", "1")
    assert (list(elsewhere.iterdir()), live.is_symlink(), live.read_bytes()) == ([], False, b"the model")


def test_there_is_nothing_to_put_back_in_a_folder_that_is_not_there(guard: Guard) -> None:
    live = guard.top / "none" / "model.bin"
    guard.acquire()
    guard.say(
        "register", "1", "file.put-back", "file.put-back", str(live), str(live.with_name(".drillctl-kept-model.bin"))
    )
    guard.say("undo", "1")
    assert guard.show().orders == ()


def test_only_a_file_of_a_drill_is_put_back_or_discarded(guard: Guard) -> None:
    mine, theirs = guard.top / ".drillctl-filler", guard.top / "theirs"
    mine.touch()
    theirs.touch()
    guard.acquire()
    guard.say("register", "1", "file.put-back", "file.put-back", str(guard.top / "live"), str(theirs))
    guard.say("register", "1", "file.discard", "file.discard", str(mine))
    guard.say("register", "1", "file.discard.2", "file.discard", str(theirs))
    assert guard.start("undo", "1").returncode == 77
    assert theirs.exists()
    assert not mine.exists()
    assert [order.id for order in guard.show().orders] == ["file.put-back"]


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("nft") is None, reason="packet filters want root and nft")
def test_a_packet_filter_is_removed_with_its_table(guard: Guard) -> None:
    table = "drillctl_test"
    guard.put(
        "nft",
        f'echo "$@" >> {guard.top}/calls; [ -e {guard.top}/table ] || exit 1\n'
        f'[ "$1" != delete ] || rm {guard.top}/table',
    )
    (guard.top / "table").touch()
    guard.acquire()
    guard.say("register", "1", "filter.remove", "filter.remove", table)
    guard.say("undo", "1")
    assert not (guard.top / "table").exists()
    guard.say("register", "1", "filter.remove", "filter.remove", table)
    guard.say("undo", "1")
    calls = (guard.top / "calls").read_text().splitlines()
    assert calls == [f"list table inet {table}", f"delete table inet {table}", f"list table inet {table}"]


def test_a_command_of_the_users_own_is_run_and_kept_until_it_succeeds(guard: Guard) -> None:
    line = f"test -e '{guard.top}/mended'"
    guard.acquire()
    guard.say("register", "1", "command.run.0a", "command.run", line)
    assert guard.start("undo", "1").returncode == 77
    assert [order.id for order in guard.show().orders] == ["command.run.0a"]
    (guard.top / "mended").touch()
    guard.say("undo", "1")
    assert guard.show().orders == ()


def test_one_undo_alone_is_carried_out_on_demand(guard: Guard) -> None:
    one, other = guard.top / ".drillctl-one", guard.top / ".drillctl-other"
    one.touch()
    other.touch()
    guard.acquire()
    guard.say("register", "1", "file.discard", "file.discard", str(one))
    guard.say("register", "1", "file.discard.2", "file.discard", str(other))
    guard.say("undo", "1", "file.discard")
    assert (one.exists(), other.exists()) == (False, True)
    assert [order.id for order in guard.show().orders] == ["file.discard.2"]
    guard.say("undo", "1", "file.discard")


SYSTEMCTL = 'echo "$@" >> "$(dirname "$0")/calls"'


MARKED = 1_767_700_800.6
"""When the drop-in was written: 2026-01-06 12:00:00.6 UTC."""


@pytest.mark.parametrize(("healthy", "marked", "began", "verb"), [
    (False, True, "Tue 2026-01-06 11:59:59 UTC", "restart"),
    (True, True, "Tue 2026-01-06 11:59:59 UTC", "start"),
    (True, True, "Mon 2026-01-05 23:00:00 UTC", "start"),
    # Healthy with the fault in it: on the CPU, or with an altered model.
    (True, True, "Tue 2026-01-06 12:00:01 UTC", "restart"),
    (True, True, "Wed 2026-01-07 01:00:00 UTC", "restart"),
    # Nobody knows which was first.
    (True, True, "Tue 2026-01-06 12:00:00 UTC", "restart"),
    (True, True, "Tue 2026-01-06 12:59:59 CET", "restart"),
    (True, True, "", "restart"),
    (True, True, "n/a", "restart"),
    (True, True, "Tue yesterday noon UTC", "restart"),
    (False, False, "Tue 2026-01-06 12:00:01 UTC", "start"),
])  # fmt: skip
def test_a_server_that_was_restarted_with_a_fault_is_restarted_without_it(
    guard: Guard, zone: Zone, healthy: bool, marked: bool, began: str, verb: str
) -> None:
    drop_in = guard.top / "unit.d" / "90-drillctl-hold.conf"
    if marked:
        drop_in.parent.mkdir()
        drop_in.touch()
        os.utime(drop_in, (MARKED, MARKED))
    zone.status = 200 if healthy else 503
    shown = f'[ "$1" != show ] || {{ [ "$TZ" = UTC ] && echo "{began}"; exit; }}'
    guard.put("systemctl", f"{shown}\n{SYSTEMCTL}")
    guard.acquire()
    words = ("systemd", "inference.service", str(drop_in), zone.url)
    guard.say("register", "1", "service.revive", "service.revive", *words)
    guard.say("undo", "1")
    assert (guard.bin / "calls").read_text().splitlines()[-1] == f"{verb} --no-block -- inference.service"
    assert not drop_in.exists()
