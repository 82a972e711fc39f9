"""A PostgreSQL server of the distribution, for as long as a test needs it: nothing of it is left on the machine."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

USER = "drill"


def programs() -> Path | None:
    """Return the folder of the newest server that the distribution installed, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


class Server:
    """A server in a folder of its own, on a Unix socket and a loopback port; logins need a password."""

    def __init__(self) -> None:
        there = programs()
        assert there is not None, "PostgreSQL is not installed; `make setup` does that"
        self.programs = there
        self.password = secrets.token_urlsafe(12)
        self.folder = Path(tempfile.mkdtemp(prefix="drillctl-pg-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # PostgreSQL refuses to run as root.
        self._as: dict[str, object] = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        if self._as:
            os.chown(self.folder, 65534, 65534)
        (self.folder / "password").write_text(self.password)
        (self.folder / "password").chmod(0o644)
        self._run("initdb", "-D", str(self.data), "-U", USER, "-A", "scram-sha-256", "--no-sync",
                  f"--pwfile={self.folder / 'password'}")  # fmt: skip
        self.process = self._start()

    @property
    def data(self) -> Path:
        """The folder of the data."""
        return self.folder / "data"

    def url(self, database: str = "postgres", *, password: str | None = None, socket_too: bool = True) -> str:
        """Return the URL of a database, over the socket or over the loopback port."""
        login = f"{USER}:{password or self.password}"
        if socket_too:
            return f"postgresql://{login}@/{database}?host={self.folder}&port={self.port}"
        return f"postgresql://{login}@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """Make a new database, and return its URL."""
        name = f"history_{secrets.token_hex(4)}"
        self._run("createdb", "-h", str(self.folder), "-p", str(self.port), "-U", USER, name)
        return self.url(name)

    def sql(self, url: str, statement: str) -> str:
        """Return what a statement prints, by PostgreSQL's own client."""
        return self._run("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement, url)

    def kill(self) -> None:
        """End every process of the server at once, as a crash does."""
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        self.process.kill()
        self.process.wait(10)
        for pid in children.stdout.split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue

    def restart(self) -> None:
        """Start the server again after `kill`."""
        deadline = time.monotonic() + 10
        while True:
            # The shared memory of killed processes is gone when the last of them is.
            try:
                self.process = self._start()
            except AssertionError:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            else:
                return

    def pause(self) -> None:
        """Stop every process of the server, as if the machine hung: connections stay open, nothing answers."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let the server go on after `pause`."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop the server and remove all of it."""
        if self.process.poll() is None:
            self.go_on()
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()

    def _signal(self, number: signal.Signals) -> None:
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        for pid in [str(self.process.pid), *listed.stdout.split()]:
            try:
                os.kill(int(pid), number)
            except ProcessLookupError:
                continue

    def _start(self) -> subprocess.Popen[bytes]:
        command = [
            str(self.programs / "postgres"), "-D", str(self.data), "-p", str(self.port), "-k", str(self.folder),
            "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=30",
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._as)  # type: ignore[call-overload]
        deadline = time.monotonic() + 30
        ready = [str(self.programs / "pg_isready"), "-q", "-h", str(self.folder), "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode != 0:
            assert process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.05)
        return process

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(self.programs / program), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PGPASSWORD": self.password},
            cwd=self.folder,
            **self._as,  # type: ignore[call-overload]
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()
