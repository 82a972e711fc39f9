"""drillctl with its effects counted: every journal write and every remote action has a name, and at one it dies.

    python -m tests.crash.effects run quick.yaml --inventory estate.yaml --yes --json

CRASH_RECORD names a file that gets a line for each effect, as it begins. CRASH_AT names the moment at which the process
sends itself SIGKILL: `before`, `during` or `after`, a blank, and the effect; or `number` and which effect of all,
from 1. Nothing of drillctl knows of this.

An effect's name is STEP/HOST/FUNCTION: the step whose intent was journaled last, the host that is spoken to, and the
function that wanted it, which is found by looking up the stack; so a new step or a new remote action is named, recorded
and killed without a line here. `#2` tells a second one of the same name from the first. What is asked again and again
until it is so, and what threads beside the steps ask (heartbeats, the watchdog), is one effect each, because how often
it happens is a matter of time.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from drillctl import journal
from drillctl.hosts import ssh

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

T = TypeVar("T")

IN_FLIGHT = 0.015
"""Seconds after which a process that is to die during a remote action dies: it was sent, and is not answered yet."""

_PLUMBING = ("drillctl.hosts.transport", "drillctl.hosts.ssh", "drillctl.hosts.http", "drillctl.hosts.fleet")
_REPEATED = {"wait_until"}

_OF_STEPS = ("MainThread", "ThreadPoolExecutor", "listening", "proof")
"""Names of the threads in which steps do their work; others (heartbeats, watchdog) ask beside them, again and again."""


class Effects:
    """Names effects, records them, and dies at one of them."""

    def __init__(self, record: Path | None, at: str) -> None:
        self._record = record
        self._moment, _, self._at = at.partition(" ")
        self._step = "begin"
        self._steps: Counter[tuple[str, str]] = Counter()
        self._names: Counter[str] = Counter()
        self._total = 0
        self._lock = threading.Lock()

    def entered(self, step: str, host: str) -> None:
        """Note that a step begins on a host; the second `verify` is another one than the first."""
        self._steps[step, host] += 1
        number = self._steps[step, host]
        self._step = step.replace(" ", "-") + (f"-{number}" if number > 1 else "")

    def around(self, host: str, function: str, *, once: bool, act: Callable[[], T], remote: bool) -> T:
        """Carry out one effect; die before, during or after it if it is the one."""
        with self._lock:
            beside = not threading.current_thread().name.startswith(_OF_STEPS)
            step, once = ("beside", True) if beside else (self._step, once)
            name = f"{step}/{host or 'all'}/{function}"
            self._names[name] += 1
            number = self._names[name]
            if number > 1 and once:
                return act()
            if number > 1:
                name += f"#{number}"
            self._write("before", name)
            self._total += 1
            if self._moment == "number" and str(self._total) == self._at:
                self._die(name)
        wanted = self._moment if name == self._at else ""
        if wanted == "before":
            self._die(name)
        if wanted == "during" and remote:
            threading.Timer(IN_FLIGHT, self._die, [name]).start()
        done = act()
        if wanted == "after":
            self._die(name)
        return done

    def _die(self, name: str) -> None:
        self._write("killed", name)
        os.kill(os.getpid(), signal.SIGKILL)

    def _write(self, what: str, name: str) -> None:
        if self._record is not None:
            with self._record.open("a", encoding="utf-8") as file:
                file.write(f"{time.monotonic():.4f} {what} {name}\n")


def caller() -> tuple[str, bool]:
    """Return the public function of drillctl that wants an effect, and whether it is asked again and again."""
    name, once = "", False
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        module, code = frame.f_globals.get("__name__", ""), frame.f_code
        if module.startswith("drillctl."):
            once = once or code.co_name in _REPEATED
            public = not code.co_name.startswith(("_", "<")) and code.co_name != "ask"
            if not name and public and module not in _PLUMBING:
                name = code.co_qualname.replace(".<locals>", "")
        frame = frame.f_back
    return name, once


def install(effects: Effects) -> None:
    """Put the effects around the journal and around what reaches a host."""
    record, intent = journal.Journal.record, journal.Journal.intent
    execute, open_tcp = ssh.SshTransport.execute, ssh.SshTransport.open_tcp

    def recorded(self: journal.Journal, event: str, **fields: object) -> None:
        host = str(fields.get("host") or "").replace(", ", "+")
        effects.around(host, f"journal.{event}", once=False, act=lambda: record(self, event, **fields), remote=False)

    def entered(self: journal.Journal, step: str, host: str, undo: object) -> None:
        effects.entered(step, host)
        intent(self, step, host, undo)  # type: ignore[arg-type]

    def executed(self: ssh.SshTransport, command: str, stdin: bytes, timeout: float) -> tuple[int, bytes, bytes]:
        name, once = caller()
        return effects.around(
            self.host, name, once=once, act=lambda: execute(self, command, stdin, timeout), remote=True
        )

    def opened(self: ssh.SshTransport, address: str, port: int, timeout: float) -> object:
        name, _ = caller()
        # A question by HTTP changes nothing, and how many there are is the number of images.
        return effects.around(
            self.host, f"{name}:http", once=True, act=lambda: open_tcp(self, address, port, timeout), remote=True
        )

    journal.Journal.record = recorded  # type: ignore[method-assign]
    journal.Journal.intent = entered  # type: ignore[method-assign]
    ssh.SshTransport.execute = executed  # type: ignore[method-assign]
    ssh.SshTransport.open_tcp = opened  # type: ignore[method-assign,assignment]


def main() -> None:
    """Run drillctl with its effects counted."""
    where = os.environ.get("CRASH_RECORD")
    install(Effects(Path(where) if where else None, os.environ.get("CRASH_AT", "")))
    from drillctl.__main__ import main as drillctl

    drillctl()


if __name__ == "__main__":
    main()
