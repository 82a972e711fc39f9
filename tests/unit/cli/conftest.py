"""`python -m drillctl` as people run it: a process of its own, with or without a terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """What a command did: exit code, what it wrote to stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def quiet(self) -> bool:
        """Tell whether it spared the reader a traceback."""
        return "Traceback" not in self.out + self.err


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return an environment in which nothing of this machine's own estate can be found."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return kept | {"HOME": str(folder), "DRILLCTL_HOME": str(folder / "state"), "XDG_RUNTIME_DIR": str(folder)} | more


@pytest.fixture
def dead_estate(inventory_file: Path) -> Iterator[Path]:
    """The inventory, whose hosts are three loopback addresses at which one port refuses."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        (inventory_file.parent / "known_hosts").touch()
        text = inventory_file.read_text().replace("10.0.", "127.0.")
        text += f"  port: {unused.getsockname()[1]}\n  known_hosts: known_hosts\n  connect_timeout_seconds: 1\n"
        inventory_file.write_text(text)
        yield inventory_file


@pytest.fixture
def drillctl(tmp_path: Path) -> Callable[..., Ended]:
    """Return a function that runs drillctl without a terminal, in the test's folder."""

    def run(*words: str, python: tuple[str, ...] = ("-m", "drillctl"), timeout: float = 60, **more: str) -> Ended:
        done = subprocess.run(
            [sys.executable, *python, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment(tmp_path, **more),
            timeout=timeout,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def on_terminal(tmp_path: Path) -> Callable[..., Ended]:
    """Return a function that runs drillctl on a terminal, and types `keys` when `prompt` is on the screen.

    What it wrote to either stream is in `out`.
    """

    def run(*words: str, prompt: str = "", keys: bytes = b"", **more: str) -> Ended:
        ours, theirs = pty.openpty()
        started = subprocess.Popen(
            [sys.executable, "-m", "drillctl", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=tmp_path,
            env=environment(tmp_path, **({"TERM": "xterm"} | more)),
            start_new_session=True,
        )
        os.close(theirs)
        seen, typed, deadline = b"", False, time.monotonic() + 60
        try:
            while time.monotonic() < deadline:
                if select.select([ours], [], [], 0.1)[0]:
                    try:
                        chunk = os.read(ours, 65536)
                    except OSError:  # Linux says so when the last one closed the terminal
                        break
                    if not chunk:
                        break
                    seen += chunk
                if keys and not typed and prompt.encode() in seen:
                    if keys == b"\x03":  # it has no controlling terminal, which would turn Ctrl-C into the signal
                        started.send_signal(signal.SIGINT)
                    else:
                        os.write(ours, keys)
                    typed = True
            code = started.wait(10)
        finally:
            started.kill()
            started.wait()
            os.close(ours)
        return Ended(code, seen.decode("utf-8", "replace").replace("\r\n", "\n"), "")

    return run
