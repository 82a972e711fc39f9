"""The service as a systemd unit: what systemd says of it, and a kill that is proven or none, by real shells."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from drillctl.hosts.scripted import Answer, ScriptedTransport
from drillctl.hosts.service import Killed, parse_proof
from drillctl.hosts.systemd import HOLD, KILL, SystemdService
from drillctl.hosts.transport import Completed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize(
    ("active", "sub", "job", "pids", "running", "coming"),
    [
        ("active", "running", "", "41 42", True, False),
        ("inactive", "dead", "", "", False, False),
        ("failed", "failed", "", "", False, False),
        # Queued behind After=network-online.target, or behind a mount.
        ("inactive", "dead", "117", "", False, True),
        ("activating", "auto-restart", "", "", False, True),
        ("activating", "start-pre", "118", "40", True, True),
        ("deactivating", "stop-post", "", "43", False, True),
    ],
)
def test_a_unit_that_is_to_be_started_has_not_ended(
    active: str, sub: str, job: str, pids: str, running: bool, coming: bool
) -> None:
    said = f"LoadState=loaded\nActiveState={active}\nSubState={sub}\nMainPID=0\nControlGroup=\nJob={job}\n"
    host = ScriptedTransport("a-1", lambda _: Answer(f"{said}Pids={pids}\nHeld=no\n".encode()))
    state = SystemdService(host, "inference.service", 8000).state()
    assert (state.running, state.coming) == (running, coming)
    assert f"{active} ({sub})" in state.detail
    assert ("job queued" in state.detail) is bool(job)


SHELLS = [shell for shell in ("dash", "busybox sh", "bash --posix") if shutil.which(shell.split()[0])]

GONE = 2**31 - 2
"""No process has this pid: the greatest there can be is below 2^22 (proc(5))."""

SYSTEMCTL = """#!/bin/sh
case "$*" in
*ControlGroup*) echo /group ;;
*MainPID*) echo 0 ;;
*) echo "$*" >>"${0%/*}/calls" ;;
esac
"""

# In place of a look at the control group: lists those of the pids in its files `1`, `2`, … that live, at the first look
# those of `1`, and so on; the last file stays. What is in `gone` is listed as well, once.
CAT = """#!/bin/sh
case $1 in */group/cgroup.procs) cd "${0%/*}" ;; *) exec /bin/cat "$@" ;; esac
read -r look <look
look=$((look + 1))
[ -e "$look" ] && echo "$look" >look
read -r look <look
read -r pids <"$look"
for p in $pids; do
    ! grep -q '^State:[[:space:]]*[^[:space:]ZX]' "/proc/$p/status" || echo "$p"
done
[ ! -e gone ] || { /bin/cat gone && rm gone; }
"""


class Unit:
    """A unit with processes of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes = [subprocess.Popen(["sleep", "600"]) for _ in range(2)]
        self.pids = tuple(sorted(process.pid for process in self.processes))
        for name, script in (("systemctl", SYSTEMCTL), ("cat", CAT)):
            (folder / name).write_text(script)
            (folder / name).chmod(0o755)
        (folder / "look").write_text("0\n")
        self.shows(self.pids)

    def shows(self, *looks: tuple[int, ...]) -> None:
        """Say which of the processes belong to the unit, look by look."""
        for number, pids in enumerate(looks, 1):
            (self.folder / str(number)).write_text(" ".join(map(str, pids)) + "\n")

    def kill(self, shell: str) -> Killed:
        """Run the script on this machine, with folders of the test's in place of systemd's."""
        script = KILL.replace("/run/systemd/system", f"{self.folder}/run").replace("/sys/fs/cgroup", str(self.folder))
        done = subprocess.run(
            [*shlex.split(shell), "-c", script, "sh", "inference.service", "1", HOLD],
            env={**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}"},
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert (self.folder / "run" / "inference.service.d" / HOLD).read_text() == "[Service]\nRestart=no\n"
        assert (self.folder / "calls").read_text() == "daemon-reload\n"
        return parse_proof(Completed(("sh",), done.returncode, done.stdout, done.stderr, 0.1), "a-1")

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[Unit]:
    made = Unit(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("shell", SHELLS)
def test_every_process_of_the_unit_is_killed_and_that_is_proven(unit: Unit, shell: str) -> None:
    assert unit.kill(shell) == Killed(unit.pids, (), False, 0.1)
    assert [process.wait(5) for process in unit.processes] == [-9, -9]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_process_that_ends_by_itself_before_it_is_hit_keeps_nobody_from_the_proof(unit: Unit, shell: str) -> None:
    (unit.folder / "gone").write_text(f"{GONE}\n")
    killed = unit.kill(shell)
    assert killed == Killed(unit.pids, (), False, 0.1)
    assert killed.proven


@pytest.mark.parametrize("shell", SHELLS)
def test_a_process_that_was_forked_meanwhile_is_killed_as_well(unit: Unit, shell: str) -> None:
    first, second = unit.pids
    unit.shows((first,), (first, second))
    assert unit.kill(shell) == Killed(unit.pids, (), False, 0.1)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("gone", ["", f"{GONE}\n"])
def test_a_kill_that_hits_no_process_is_not_proven(unit: Unit, shell: str, gone: str) -> None:
    unit.shows(())
    (unit.folder / "gone").write_text(gone)
    killed = unit.kill(shell)
    assert killed == Killed((), (), False, 0.1)
    assert not killed.proven
