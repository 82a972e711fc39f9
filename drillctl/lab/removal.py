"""Removing a lab by its ledger alone, whole or half made: `up` uses it after a failure, `down` always."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from drillctl.lab import cgroup, ground, process
from drillctl.lab.process import Process

if TYPE_CHECKING:
    from drillctl.lab.ledger import Ledger, Thing

GRACE_SECONDS = 2.0
"""How long machines may take to power off, and processes to end, before they are killed."""


def remove(ledger: Ledger) -> list[str]:
    """Undo everything in a ledger, newest first, then remove its folder; return what was there."""
    folder = ledger.path.parent
    removed = undo(ledger)
    shutil.rmtree(folder)
    return [*removed, f"folder {folder}"]


def clear(ledger: Ledger) -> list[str]:
    """Undo everything in a ledger and empty its folder, which stays; return what was there."""
    removed = undo(ledger)
    for path in ledger.path.parent.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return removed


def undo(ledger: Ledger) -> list[str]:
    """Undo everything in a ledger; return what was still there. Safe to repeat."""
    things = ledger.things()
    groups = [Path(thing.name) for thing in things if thing.kind == "cgroup"]
    # The group first: its machines end in order, and the rest of the processes with them.
    removed = [f"machines and control group {group}" for group in groups if cgroup.remove(group, grace=GRACE_SECONDS)]
    names = {Process(thing.pid, thing.started): thing.name for thing in things if thing.kind == "process"}
    strays = [stray for thing in things if thing.kind == "token" for stray in process.carrying(thing.name)]
    ended = process.end({*names, *process.descendants(names), *strays}, grace=GRACE_SECONDS)
    removed += [f"process {one.pid} ({names.get(one, 'started in the lab')})" for one in ended]
    return removed + [f"{thing.kind} {thing.name}" for thing in reversed(things) if _undo(thing)]


def lifeless(ledger: Ledger) -> bool:
    """Tell whether none of a ledger's programs runs any more, as after a restart of the machine below."""
    programs = [Process(thing.pid, thing.started) for thing in ledger.things() if thing.kind == "process"]
    return not any(program.alive for program in programs)


def _undo(thing: Thing) -> bool:
    """Remove an interface, a mount or a folder; tell whether it was there."""
    if thing.kind == "link" and any(name == thing.name for _, name in socket.if_nameindex()):
        argv = [ground.required("ip"), "link", "delete", thing.name]
    elif thing.kind == "mount" and os.path.ismount(thing.name):
        argv = [ground.required("umount"), thing.name]
    elif thing.kind == "folder" and Path(thing.name).is_dir() and not process.executing(ground.required("sshd")):
        # The one such folder is sshd's (daemons.py). An sshd that was started meanwhile needs it more than we tidiness.
        Path(thing.name).rmdir()
        return True
    else:
        return False
    # Between the look and the command it may have gone by itself, as a link does with the room it leads into.
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0
