"""The guard's real program, run by real shells in a folder of the test's own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drillctl.guard.client import program
from drillctl.guard.lease import Holding, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHELLS = {"sh": ["sh"], "dash": ["dash"], "busybox": ["busybox", "ash"], "bash": ["bash", "--posix"]}


class Guard:
    """One guard in a folder: `say` runs a command of it. Programs in `bin` come before those of the machine."""

    def __init__(self, folder: Path, shell: list[str], *, without: tuple[str, ...] = ()) -> None:
        self.top = folder
        self.folder = folder / "state" / "host-1"
        self.folder.mkdir(parents=True, mode=0o700)
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.shell = shell
        self.without = without
        if shell[0] == "busybox":
            # As on a host that has nothing else: every program it finds first is busybox's.
            subprocess.run(["busybox", "--install", "-s", str(self.bin)], check=True)
        else:
            # The guard calls itself by `sh`; it must be the shell under test.
            (self.bin / "sh").symlink_to(shutil.which(shell[0]) or shell[0])
        self.install()

    def install(self) -> None:
        """Put the program into the folder; programs that are to be missing get names that nobody has."""
        text = program().decode()
        for name in self.without:
            text = text.replace(f"command -v {name} ", f"command -v no-{name} ")
        (self.folder / "guard.sh").write_text(text)

    def put(self, name: str, script: str) -> None:
        """Put a program before those of the machine."""
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def start(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        """Run a command and return how it ended."""
        done = subprocess.run(
            [*self.shell, str(self.folder / "guard.sh"), str(self.folder), *words],
            input=stdin,
            capture_output=True,
            timeout=60,
            env={**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}"},
            check=False,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    def say(self, *words: str, stdin: bytes = b"") -> str:
        """Run a command that must succeed; return what it printed."""
        done = self.start(*words, stdin=stdin)
        assert done.returncode == 0, done
        return done.stdout.strip()

    def acquire(self, run: str = "run-1", ttl: int = 30, stdin: bytes = b"") -> str:
        """Take the lease and return the epoch."""
        return self.say("acquire", run, "me@here pid 7", str(ttl), stdin=stdin).removeprefix("epoch ")

    def epoch(self) -> str:
        """Return the epoch of the newest lease."""
        return (self.folder / "epoch").read_text().strip()

    def show(self) -> Holding:
        """Return what it holds."""
        if not (self.folder / "guard.sh").exists():
            return Holding("host-1")
        return parse("host-1", self.say("show"))

    def expire(self) -> None:
        """Make the lease run out now."""
        epoch, boot, _ = (self.folder / "clock").read_text().split()
        (self.folder / "clock").write_text(f"{epoch} {boot} 0\n")

    def watches(self) -> list[int]:
        """Return the pids of the watch processes of this folder."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"watch" in words and str(self.folder).encode() in words:
                found.append(int(path.parent.name))
        return found

    def kill_watch(self) -> None:
        """Kill the watch, so that only what the test calls acts."""
        wait_for(lambda: bool(self.watches()))
        # More than once: a look at /proc can catch a child of the watch and miss the watch itself, just started.
        quiet = 0
        while quiet < 3:
            quiet = 0 if self.end() else quiet + 1
            time.sleep(0.02)

    def end(self) -> bool:
        """Kill the processes of the guard; tell whether there were any."""
        found = self.watches()
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(found)

    def files(self) -> set[str]:
        """Return the names of what lies in the folder."""
        return {path.name for path in self.folder.iterdir()}


def wait_for(condition: Callable[[], bool], timeout: float = 20) -> None:
    """Wait until something holds; fail when it does not in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.02)


@pytest.fixture(params=list(SHELLS))
def guard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Guard]:
    """A guard, once by each shell."""
    shell = SHELLS[request.param]
    if shutil.which(shell[0]) is None:
        pytest.skip(f"there is no {shell[0]} here")
    made = Guard(tmp_path, shell)
    yield made
    made.end()


@pytest.fixture
def any_guard(tmp_path: Path) -> Iterator[Guard]:
    """A guard, by the system's own shell: for what does not hang on the shell."""
    made = Guard(tmp_path, ["sh"])
    yield made
    made.end()


class Zone:
    """A server of the original zone; `status` is what it answers."""

    def __init__(self) -> None:
        zone = self
        self.status = 200
        self.asked = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                zone.asked += 1
                self.send_response(zone.status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/health"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def zone() -> Iterator[Zone]:
    """The original zone."""
    made = Zone()
    yield made
    made.close()
