"""nginx's master and workers, as /proc shows them, and the judgement whether a reload is in force. Pure.

On a reload the master starts new workers and, about 0.1 s later, tells the old ones to finish, which then call
themselves `worker process is shutting down`. A config that the master cannot apply changes nothing of this: no new
workers, and an `[emerg]` line in the error log, although the reload command ended with exit code 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

TICKS_PER_SECOND = 100
"""USER_HZ, the unit of start times in /proc/PID/stat (proc(5))."""

_STAT = re.compile(r"^(\d+) \(.*\) \S (\d+)(?: \S+){17} (\d+) ")
_TITLE = re.compile(r"^/proc/(\d+)/cmdline:(.*)$")
_WORKER = "nginx: worker process"
_FINISHING = "nginx: worker process is shutting down"


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker: pid, start time in ticks since boot, and whether it only finishes what it has begun."""

    pid: int
    start: int
    finishing: bool


@dataclass(frozen=True, slots=True)
class Processes:
    """One nginx: the master's pid and start time, both 0 when it does not run, and its workers."""

    master: tuple[int, int]
    workers: tuple[Worker, ...]

    @property
    def serving(self) -> tuple[Worker, ...]:
        """The workers that take new requests."""
        return tuple(worker for worker in self.workers if not worker.finishing)


def read_processes(shown: str) -> Processes:
    """Return the processes from what the scripts' `look` printed: stat lines, the master's first, then titles."""
    stats: dict[int, tuple[int, int]] = {}
    titles: dict[int, str] = {}
    for line in shown.splitlines():
        if stat := _STAT.match(line):
            stats[int(stat[1])] = (int(stat[2]), int(stat[3]))
        elif title := _TITLE.match(line):
            titles[int(title[1])] = title[2].replace("\0", " ").strip()
    if not stats:
        return Processes((0, 0), ())
    master = next(iter(stats))
    workers = tuple(
        Worker(pid, stats[pid][1], title.startswith(_FINISHING))
        for pid, title in sorted(titles.items())
        if pid in stats and stats[pid][0] == master and title.startswith(_WORKER)
    )
    return Processes((master, stats[master][1]), workers)


def missing_proof(
    *, master: tuple[int, int], before: Collection[int], now: Processes, emergencies: Collection[str], reloaded: bool
) -> str | None:
    """Return what speaks against the config being in force; None when it is.

    `master` is the process that was told to reload, `before` the workers that served until then. Without a reload
    (`reloaded` False: the right config was in force already) it is enough that workers serve.
    """
    if emergencies:
        return f"its error log says: {next(iter(emergencies))}"
    if now.master == (0, 0):
        return "nginx does not run"
    if reloaded and now.master != master:
        return f"the master is now process {now.master[0]}, it was {master[0]}: nginx was restarted, not reloaded"
    serving = {worker.pid for worker in now.serving}
    if not serving:
        return "no worker serves"
    if not reloaded:
        return None
    old = serving & set(before)
    if serving == old:
        return f"no new worker was started; still serving: {_listed(old)}"
    if old:
        return f"old workers still take requests: {_listed(old)}"
    return None


def younger_than(processes: Processes, changed: float, now: float, uptime: float) -> bool:
    """Tell whether all serving workers were started after a file was last changed.

    `changed` and `now` are in seconds since the epoch, `uptime` in seconds. When in doubt the answer is no: a
    worker that starts in the future belongs to a clock that cannot be compared, as in some containers.
    """
    margin = 2 / TICKS_PER_SECOND
    starts = [now - uptime + worker.start / TICKS_PER_SECOND for worker in processes.serving]
    return bool(starts) and all(changed + margin < start < now + 1 for start in starts)


def _listed(pids: Collection[int]) -> str:
    return ", ".join(map(str, sorted(pids)))
