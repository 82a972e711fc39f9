"""A real server process, as operators start it, and the images to ask it about."""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from origin import MEBIBYTE, manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

REPOSITORY = Path(__file__).resolve().parents[3]
SAMPLE = REPOSITORY / "inference" / "sample"
GOLDEN = REPOSITORY / "playbooks" / "images"


@dataclass
class ServerProcess:
    """A running ``python -m inference serve`` and what it wrote to stderr so far."""

    process: subprocess.Popen[str]
    port: int
    started: float
    stderr: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_bound(self, seconds: float = 20) -> None:
        """Return as soon as the port accepts connections."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.process.poll() is None, "".join(self.stderr)
            time.sleep(0.005)
        pytest.fail("the server did not bind its port")

    def wait_ready(self, seconds: float = 60) -> None:
        """Return once /health is 200."""
        self.wait_bound()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if httpx.get(f"{self.url}/health", timeout=10).status_code == 200:
                return
            time.sleep(0.05)
        pytest.fail("the server did not become ready: " + "".join(self.stderr))

    def stop(self) -> int:
        """Ask it to stop as systemd would; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(**variables: str) -> dict[str, str]:
    """The environment of a child process: only what the tests set, nothing of the developer's own."""
    kept = {name: value for name, value in os.environ.items() if re.fullmatch(r"PATH|HOME|LANG|LC_.*|TMPDIR", name)}
    return {**kept, "MODEL_PATH": str(SAMPLE), "DEVICE": "cpu", **variables}


@contextmanager
def running_server(sabotage: str = "", **variables: str) -> Iterator[ServerProcess]:
    """Start a server on a free port and make sure that it is gone afterwards.

    ``sabotage`` is Python that runs in it first, to break what cannot be broken from outside.
    """
    port = free_port()
    program = f"{sabotage}\nfrom inference.__main__ import main\nraise SystemExit(main(['serve']))"
    command = [sys.executable, "-c", program] if sabotage else [sys.executable, "-m", "inference", "serve"]
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=environment(PORT=str(port), **variables),
        stderr=subprocess.PIPE,
        text=True,
    )
    server = ServerProcess(process, port, started)
    stderr = process.stderr
    assert stderr is not None
    reader = threading.Thread(target=lambda: server.stderr.extend(stderr))
    reader.start()
    try:
        yield server
    finally:
        process.kill()
        process.wait()
        reader.join()
        stderr.close()


def run_inference(*arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run one ``python -m inference`` command to its end."""
    command = [sys.executable, "-m", "inference", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env=environment(**variables), capture_output=True, timeout=60)


@pytest.fixture(scope="session")
def serving() -> Callable[..., AbstractContextManager[ServerProcess]]:
    """``with serving(NAME=value, …) as server:`` starts a server of the test's own."""
    return running_server


@pytest.fixture(scope="session")
def inference() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """``inference("predict", …, NAME=value)`` runs one command to its end."""
    return run_inference


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    """A ready server of zone ``zone-a`` on ``host-a``, shared by all tests that do not stop it."""
    with running_server(ZONE="zone-a", NODE_NAME="host-a") as server:
        server.wait_ready()
        yield server


@pytest.fixture(scope="session")
def golden() -> list[Path]:
    """The golden images that ship with the playbooks."""
    return sorted(GOLDEN.iterdir())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed folder: the sample's words, and weights that only have to arrive."""
    folder = tmp_path_factory.mktemp("origin") / "model"
    folder.mkdir()
    for name in ("labels.txt", "model.json"):
        shutil.copy(SAMPLE / name, folder)
    (folder / "model.safetensors").write_bytes(random.Random(1).randbytes(5 * MEBIBYTE + 321))
    (folder / "SHA256SUMS").write_text(manifest(folder))
    return folder


@pytest.fixture
def sha256(source: Path) -> str:
    return hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture
def cached(tmp_path: Path, sha256: str) -> Path:
    """Where the model will lie."""
    return tmp_path / "cache" / sha256
