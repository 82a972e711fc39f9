"""A real sshd of our own on a free loopback port, with keys of its own; and a small web server to kill."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from drillctl.hosts import ssh
from drillctl.hosts.local import LocalTransport
from drillctl.hosts.process import ProcessService
from drillctl.inventory import ProcessStart, SshOptions
from drillctl.lab import ground, process, sshfiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drillctl.hosts.ssh import SshTransport
    from drillctl.hosts.transport import Transport


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(condition: Callable[[], object], within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Sshd:
    """An sshd that runs as whoever runs the tests."""

    def __init__(self, folder: Path, *extra: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.user = getpass.getuser()
        self.key = folder / "login"
        self.known_hosts = folder / "known_hosts"
        login, host = sshfiles.make_key(self.key, "login"), sshfiles.make_key(folder / "host_key", "host")
        (folder / "authorized_keys").write_bytes(login.public)
        self.known_hosts.write_text(self.known(host.public))
        config = sshfiles.sshd_config(
            host_key=str(folder / "host_key"),
            authorized_keys=str(folder / "authorized_keys"),
            pam=_root_is_locked(),
            extra=(
                "ListenAddress 127.0.0.1",
                f"Port {self.port}",
                f"PidFile {folder / 'sshd.pid'}",
                "StrictModes no",
                "PermitRootLogin prohibit-password",
            ),
        )
        # The first value that sshd reads counts.
        (folder / "sshd_config").write_text("\n".join((*extra, config)))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self._log = (folder / "log").open("wb")
        self._server = subprocess.Popen(
            [ground.required("sshd"), "-D", "-e", "-f", str(folder / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        wait_for(lambda: answers(self.port))

    def known(self, public: bytes) -> str:
        """Return a line of known_hosts that says that this sshd has a key."""
        return f"[127.0.0.1]:{self.port} {' '.join(public.decode().split()[:2])}\n"

    @property
    def fingerprint(self) -> str:
        """Return the host key's fingerprint, as ssh-keygen prints it."""
        said = subprocess.run(["ssh-keygen", "-lf", str(self.folder / "host_key.pub")], capture_output=True, check=True)
        return said.stdout.decode().split()[1]

    def options(self, **changed: Any) -> SshOptions:
        mine = {
            "user": self.user,
            "key": self.key,
            "known_hosts": self.known_hosts,
            "port": self.port,
            "connect_timeout_seconds": 5.0,
        }
        return SshOptions.model_validate({key: value for key, value in (mine | changed).items() if value is not None})

    def connect(self, **changed: Any) -> SshTransport:
        return ssh.connect("host-1", "127.0.0.1", self.options(**changed))

    @property
    def pid(self) -> int:
        """Return the process that accepts logins."""
        return self._server.pid

    def sessions(self) -> list[process.Process]:
        """Return every process of this sshd's logins."""
        listener = process.Process.of(self._server.pid)
        return process.descendants([listener]) if listener else []

    def stop(self) -> None:
        for session in self.sessions():
            session.send(signal.SIGCONT)
            session.send(signal.SIGKILL)
        self._server.terminate()
        self._server.wait()
        self._log.close()


def _root_is_locked() -> bool:
    """Tell whether this is root with a locked password: then sshd lets nobody in unless PAM decides (sshd(8))."""
    return os.geteuid() == 0 and any(
        line.startswith("root:!") for line in Path("/etc/shadow").read_text(encoding="utf-8").splitlines()
    )


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture
def make_sshd(tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    """Return a function that starts an sshd of the test's own, with lines of configuration before the usual ones."""
    servers: list[Sshd] = []

    def make(*extra: str) -> Sshd:
        folder = tmp_path / f"sshd-{len(servers)}"
        folder.mkdir()
        servers.append(Sshd(folder, *extra))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def host(sshd: Sshd) -> Iterator[SshTransport]:
    """A login on the shared sshd, for tests that do not break it."""
    transport = sshd.connect()
    yield transport
    transport.close()


SERVER = """\
import http.server, os, subprocess, sys
port = int(os.environ["PORT"])
child = subprocess.Popen(["sleep", "600"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{os.getpid()} {child.pid} {os.environ.get('API_TOKEN')}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


class SmallService:
    """A web server with a child process, run by a ProcessService on some host."""

    def __init__(self, folder: Path, transport: Transport, **changed: Any) -> None:
        self.folder = folder
        self.pidfile = folder / "run" / "server.pid"
        self.log = folder / "server.log"
        self.port = free_port()
        (folder / "server.py").write_text(SERVER)
        start = ProcessStart.model_validate(
            {
                "kind": "process",
                "command": ["server.py"],
                "interpreter": sys.executable,
                "working_folder": str(folder),
                **changed,
            }
        )
        self.environment = {"PORT": str(self.port), "API_TOKEN": "s3cret $(id) 'x'"}
        self.manager = ProcessService(
            transport,
            start,
            port=self.port,
            environment=self.environment,
            pidfile=str(self.pidfile),
            log=str(self.log),
        )

    def wait_until_it_answers(self) -> None:
        wait_for(lambda: answers(self.port))

    def clean_up(self) -> None:
        with suppress(Exception):
            self.manager.stop()


@pytest.fixture
def make_service(tmp_path: Path) -> Iterator[Callable[..., SmallService]]:
    """Return a function that lays out a service on a host; what it started is ended."""
    made: list[SmallService] = []

    def make(transport: Transport | None = None, **changed: Any) -> SmallService:
        made.append(SmallService(tmp_path, transport or LocalTransport("host-1"), **changed))
        return made[-1]

    yield make
    for small in made:
        small.clean_up()


@pytest.fixture
def service(make_service: Callable[..., SmallService]) -> SmallService:
    return make_service()
