"""make soak: drill after drill in one lab; every verdict must be right, and nothing may grow.

    python -m tests.crash.soak [--drills 50] [--seconds N]

All drills are carried out by this one process, so that what drillctl itself keeps would show. After each, every host
is counted: processes, open descriptors, files outside the logs, and the resident memory of what runs on (the killed
server is a new process each time and is counted apart). What a host writes into its logs is shown and not judged.
Exit code 1 when a verdict is wrong or something grew.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from drillctl import inventory as inventories
from drillctl import playbook as playbooks
from drillctl.cli import run as runs
from tests.crash.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.crash.machine import Machine

WARM_UP = 3
"""Drills after which everything that is made once has been made."""

MEMORY_SHARE = 0.02
MEMORY_STEP = 2 << 20
"""How much more memory there may be at the end: a share of it, and bytes, for what allocators and page sizes do."""

Count = dict[str, int]


def of_machine(machine: Machine) -> Count:
    """Count what a machine has; memory in bytes."""
    count = {"processes": 0, "descriptors": 0, "memory": 0}
    for pid, _, words in machine.processes():
        count["processes"] += 1
        with contextlib.suppress(OSError):
            count["descriptors"] += len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
            if machine.name != "zone-a-1" or "-m inference" not in words:
                count["memory"] += _resident(pid)
    roots = (machine.upper, machine.path("/run"), machine.path("/tmp"))
    count["files"] = sum(len(names) for root in roots for top, _, names in os.walk(root) if "/var/log" not in top)
    count["log bytes"] = sum(
        Path(top, name).lstat().st_size for top, _, names in os.walk(machine.upper / "var/log") for name in names
    )
    return {f"{machine.name} {what}": number for what, number in count.items()}


def of_drillctl() -> Count:
    """Count what this process has."""
    gc.collect()
    return {
        "drillctl descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208
        "drillctl threads": threading.active_count(),
        "drillctl memory": _resident(os.getpid()),
    }


def grown(counts: Sequence[Count]) -> list[str]:
    """Return what grew over the drills after the warm-up, in words (pure).

    The most of the last third is held against the most of the first third: what comes and goes is no growth.
    """
    after = counts[WARM_UP:]
    third = max(1, len(after) // 3)
    found = []
    for what in after[0] if after else ():
        if what.endswith("log bytes"):
            continue
        first, last = max(c[what] for c in after[:third]), max(c[what] for c in after[-third:])
        allowed = first * MEMORY_SHARE + MEMORY_STEP if what.endswith("memory") else 0
        if last > first + allowed:
            found.append(f"{what} grew from {first} to {last}")
    return found


@dataclass
class Soak:
    """The verdicts so far, and the counts after each drill."""

    verdicts: list[str]
    counts: list[Count]

    def table(self) -> str:
        """Return every count after the warm-up and at the end."""
        place = min(WARM_UP, len(self.counts) - 1)
        first, last = self.counts[place], self.counts[-1]
        lines = [f"{'':<28} {f'after {place + 1}':>14} {f'after {len(self.counts)}':>14}"]
        return "\n".join([*lines, *(f"{what:<28} {first[what]:>14} {last[what]:>14}" for what in first)])


def soak(scene: Scene, drills: int, seconds: float) -> Soak:
    """Drill so often, or for so long."""
    estate, book = inventories.load(scene.inventory), playbooks.load(scene.playbook)
    sources = runs.Sources(scene.inventory, scene.playbook)
    os.environ["DRILLCTL_HOME"] = str(scene.new_home())
    done, began = Soak([], []), time.monotonic()
    while len(done.verdicts) < drills and time.monotonic() - began < seconds:
        with contextlib.redirect_stderr(io.StringIO()):
            report = runs.drill(estate, book, sources, ())
        done.verdicts.append(report.verdict)
        # Watches of guards end within a second, old workers with their last request.
        scene.wait(lambda: not any(m.find("guard.sh") for m in scene.machines.values()), 10, "the guards are gone")
        time.sleep(0.5)
        counted = of_drillctl()
        for machine in scene.machines.values():
            counted |= of_machine(machine)
        done.counts.append(counted)
        outage = report.recovery.outage_seconds
        said = f"outage {outage:.2f} s" if outage is not None else str(report.reason)
        if report.verdict != "passed":
            missed = [f"{each.name} {each.rule}: {each.measured}" for each in report.objectives if each.met is not True]
            said = "; ".join([report.reason or said, *missed, *report.restore.left])
        sys.stdout.write(f"{len(done.verdicts):4} {report.verdict:<12} {said}, {report.seconds:.1f} s\n")
        sys.stdout.flush()
    return done


def main() -> int:
    """Drill; print every verdict, the counts, and what grew."""
    parser = argparse.ArgumentParser(description="Drill after drill: right verdicts, and nothing grows.")
    parser.add_argument("--drills", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no drill after so long")
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as name, Scene(Path(name)) as scene:
        scene.client.close()
        for server in scene.servers.values():
            server.close()
        done = soak(scene, arguments.drills, arguments.seconds)
    wrong = [verdict for verdict in done.verdicts if verdict != "passed"]
    found = grown(done.counts)
    right = len(done.verdicts) - len(wrong)
    sys.stdout.write(f"\n{done.table()}\n\n{right} of {len(done.verdicts)} verdicts are right; ")
    sys.stdout.write(f"{'; '.join(found) or 'nothing grew'}; {time.monotonic() - began:.0f} s\n")
    return 1 if wrong or found or len(done.verdicts) < arguments.drills else 0


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())
