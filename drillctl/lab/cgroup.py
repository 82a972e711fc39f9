"""The lab's control group: everything that its machines run is in it, so nothing has to be looked for by name."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from drillctl.lab import ground
from drillctl.lab.process import POLL, Process, gone

NAME = "drillctl-lab"
POWER_OFF = signal.SIGRTMIN + 4
"""Tells the systemd of a machine to power off (systemd(1), signals)."""


def hierarchy() -> Path | None:
    """Return where the unified hierarchy is mounted on this machine: all of it, or beside the older one, or nowhere."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.split(" ", 1)[0] == "cgroup2":
            return Path(fields.split()[4])
    return None


def mount(point: Path) -> Path:
    """Mount the unified hierarchy at a folder, for machines that have it nowhere."""
    point.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(
        [ground.required("mount"), "-t", "cgroup2", "cgroup2", str(point)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    return point


def members(group: Path) -> list[int]:
    """Return the pids in a group and all groups below it."""
    found: list[int] = []
    for folder, _, _ in os.walk(group):
        with suppress(OSError):
            found += map(int, (Path(folder) / "cgroup.procs").read_text(encoding="ascii").split())
    return found


def leaders(group: Path) -> list[Process]:
    """Return the first processes of the machines in a group: those with pid 1 in a pid namespace of their own."""
    found: list[Process] = []
    for pid in members(group):
        with suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
            namespaces = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
            process = Process.of(pid)
            if len(namespaces) > 1 and namespaces[-1] == "1" and process is not None:
                found.append(process)
    return found


def remove(group: Path, *, grace: float) -> bool:
    """Power the machines in a group off, kill what is left after `grace` seconds, and remove it.

    Returns whether it was there. Safe against a program that is just about to enter the group: it enters and is
    killed, or finds no group and gives up.
    """
    if not group.is_dir():
        return False
    machines = leaders(group)
    for leader in machines:
        leader.send(POWER_OFF)
    gone(machines, within=grace)
    deadline = time.monotonic() + 5.0
    while group.is_dir() and time.monotonic() < deadline:
        for pid in members(group):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _emptied(group, within=0.2)
        for folder, _, _ in os.walk(group, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()
    return True


def _emptied(group: Path, *, within: float) -> bool:
    deadline = time.monotonic() + within
    while members(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True
