"""A real nginx on this machine, with two real backends behind it, all on free loopback ports."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drillctl.gateway.kinds import gateway_of
from drillctl.gateway.nginx_adoption import adopt
from drillctl.guard.client import program as guard
from drillctl.hosts.local import LocalTransport
from drillctl.inventory import Inventory, Nginx, SshOptions
from drillctl.lab import haproxyfiles
from drillctl.lab.ground import program
from drillctl.privileges.installed import Installed
from drillctl.privileges.program import FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from drillctl.gateway.gateway import Gateway

HAPROXY = program("haproxy")
NGINX = shutil.which("nginx") or ("/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None)


def free_port() -> int:
    """Return a free port below those that the kernel hands out by itself, so that no client takes it meanwhile."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


class Backend:
    """A server of one zone: answers every request with the zone's name."""

    def __init__(self, zone: str, address: str = "127.0.0.1", port: int = 0) -> None:
        backend = self
        self.status = 200
        self.asked: list[str] = []
        """The `Host` of each request."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                backend.asked.append(self.headers["Host"])
                self.send_response(backend.status)
                self.send_header("Content-Length", str(len(zone)))
                self.send_header("X-Served-Zone", zone)
                self.end_headers()
                self.wfile.write(zone.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer((address, port), Handler)
        self.server.daemon_threads = True
        self.port: int = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def inventory_of(port: int, primary: str, standby: str, gateway: dict[str, object]) -> Inventory:
    """Return an inventory of one gateway on this machine, with two zones of one server each."""

    def zone(name: str, role: str, address: str, upstream: str) -> dict[str, object]:
        host = {"name": f"{name}-1", "address": address, "upstream": upstream}
        return {"name": name, "role": role, "failure_domain": name, "hosts": [host]}

    return Inventory.model_validate(
        {
            "name": "test",
            "zones": [
                zone("zone-a", "primary", "127.0.0.2", primary),
                zone("zone-b", "standby", "127.0.0.3", standby),
            ],
            "service": {
                "port": 8000,
                "model": {"path": "/model", "sha256": "0" * 64},
                "start": {"kind": "systemd", "unit": "inference.service"},
            },
            "gateway": {
                "hosts": [{"name": "gateway", "address": "127.0.0.1"}],
                "url": f"http://127.0.0.1:{port}",
                **gateway,
            },
        }
    )


class Here(Installed):
    """The programs in a folder of this machine, run by the user of the tests instead of by sudo.

    What the guard keeps lies there as well, in `guards`.
    """

    def __init__(self, inventory: Inventory, folder: Path) -> None:
        super().__init__(inventory, inventory.gateway.hosts[0])
        self._folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "guard.sh").write_bytes(guard())
        for one in self.programs:
            text = one.text.replace("/var/lib/drillctl/", f"{folder}/guards/").replace(FOLDER, str(folder))
            (folder / one.name).write_text(text)

    def of_script(self, called: str, source: str, arguments: Sequence[str]) -> tuple[str, ...]:
        return self._here(super().of_script(called, source, arguments))

    def of_command(self, argv: Sequence[str]) -> tuple[str, ...]:
        return self._here(super().of_command(argv))

    def _here(self, words: tuple[str, ...]) -> tuple[str, ...]:
        assert words[:3] == ("sudo", "-n", "--")
        return ("sh", str(self._folder / words[3].rpartition("/")[2]), *words[4:])


def by_programs(inventory: Inventory, folder: Path) -> LocalTransport:
    """Return this machine as a gateway's host where only the installed programs of an inventory run as root."""
    transport = LocalTransport("gateway")
    transport.installed = Here(inventory.model_copy(update={"ssh": SshOptions(user="drill")}), folder / "programs")
    return transport


class RunningHaproxy:
    """An HAProxy with a folder, a port and backends of its own, configured as the lab's is."""

    def __init__(self, folder: Path) -> None:
        assert HAPROXY is not None
        self.folder = folder
        self.port = free_port()
        self.zone_a, self.zone_b = Backend("zone-a"), Backend("zone-b")
        self.primary, self.standby = f"127.0.0.1:{self.zone_a.port}", f"127.0.0.1:{self.zone_b.port}"
        self.config = folder / "haproxy.cfg"
        self.socket = folder / "admin.sock"
        self.state_file = folder / "state" / "server-state"
        text = haproxyfiles.config(
            listen=f"127.0.0.1:{self.port}",
            addresses={"zone-a-1": self.primary, "zone-b-1": self.standby},
            folder=str(folder),
            socket=str(self.socket),
            state_file=str(self.state_file),
            user=None,
        )
        self.config.write_text(text)
        (folder / "fallback.http").write_text(haproxyfiles.fallback(), newline="")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.launch()
        wait_for(lambda: self.answer() is not None)

    def launch(self) -> None:
        words = [str(HAPROXY), "-W", "-db", "-f", str(self.config)]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def reload(self) -> None:
        """Reload, and wait until another worker answers at the socket."""
        assert self.process is not None
        before = _line(self.ask("show info"), "Pid")
        told = 0.0

        def reloaded() -> bool:
            nonlocal told
            # A master that has only just started its worker does not hear the signal yet.
            if time.monotonic() - told > 3 and self.process is not None:
                self.process.send_signal(signal.SIGUSR2)
                told = time.monotonic()
            return _line(self.ask("show info"), "Pid") not in {"", before}

        wait_for(reloaded)

    def ask(self, command: str) -> str:
        """Return what HAProxy says at its socket; nothing when it cannot be asked now."""
        with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
            client.settimeout(5)
            client.connect(str(self.socket))
            client.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: client.recv(65536), b"")).decode()
        return ""

    def answer(self) -> str | None:
        """Return the zone that answers a new client, or None."""
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5) as reply:
            return str(reply.read().decode())
        return None

    def inventory(self, **gateway: object) -> Inventory:
        own: dict[str, object] = {
            "kind": "haproxy",
            "config": str(self.config),
            "backend": "recognition",
            "socket": str(self.socket),
            "state_file": str(self.state_file),
            "program": HAPROXY,
        }
        return inventory_of(self.port, self.primary, self.standby, {**own, **gateway})

    def gateway(self, **options: object) -> Gateway:
        return gateway_of(self.inventory(**options), {"gateway": LocalTransport("gateway")}, "run-1")

    def stop(self) -> None:
        self.zone_a.close()
        self.zone_b.close()
        if self.process is not None:
            self.process.terminate()
            self.process.wait()


def _line(info: str, key: str) -> str:
    return next((line for line in info.splitlines() if line.startswith(f"{key}:")), "")


def wait_for(condition: Callable[[], bool], within: float = 15.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


class RunningNginx:
    """An nginx with a folder, ports and backends of its own. `live` is the file that holds the upstream."""

    def __init__(self, folder: Path) -> None:
        assert NGINX is not None
        self.folder = folder
        self.port = free_port()
        self.zone_a, self.zone_b = Backend("zone-a"), Backend("zone-b")
        self.main = folder / "nginx.conf"
        self.live = folder / "conf.d" / "service.conf"
        self.error_log = folder / "error.log"
        self.pidfile = folder / "nginx.pid"
        self.test = (NGINX, "-p", str(folder), "-c", str(self.main), "-t")
        self.reload: tuple[str, ...] = (NGINX, "-p", str(folder), "-c", str(self.main), "-s", "reload")
        self.log_format = '$remote_addr "$request" $status upstream=$upstream_addr'
        self.live.parent.mkdir()
        self.write_main("include conf.d/*.conf;")
        self.write_live()

    @property
    def primary(self) -> str:
        return f"127.0.0.1:{self.zone_a.port}"

    @property
    def standby(self) -> str:
        return f"127.0.0.1:{self.zone_b.port}"

    def upstream(self, style: str = "#") -> str:
        standby = f"server {self.standby} down;" if style == "down" else f"{style} server {self.standby};"
        return f"upstream service {{\n    server {self.primary};  # zone a\n    {standby}\n}}\n"

    def server(self) -> str:
        return (
            f"log_format named '{self.log_format}';\n"
            f"server {{ listen 127.0.0.1:{self.port}; access_log access.log named;\n"
            "  location / { proxy_pass http://service; proxy_next_upstream off; } }\n"
        )

    def write_main(self, http: str, *, top: str = "") -> None:
        user = "user root;\n" if os.geteuid() == 0 else ""
        temporary = "".join(
            f"{name}_temp_path temp;\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        self.main.write_text(
            f"{user}worker_processes 2;\npid nginx.pid;\nerror_log error.log;\n{top}"
            f"events {{ worker_connections 64; }}\nhttp {{\naccess_log off;\n{temporary}{http}\n}}\n"
        )

    def write_live(self, style: str = "#") -> None:
        self.live.write_text(self.upstream(style) + self.server())

    def start(self) -> None:
        subprocess.run([*self.test[:-1]], check=True, capture_output=True, cwd=self.folder)
        self.wait_for(lambda: self.pidfile.exists() and self.pidfile.read_text().strip() != "")
        self.wait_for(lambda: self.answer() is not None)

    def answer(self) -> str | None:
        """Return the zone that answers a new client, once the access log has it; None when nobody answers."""
        logged = self.log_lines()
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5) as reply:
            zone = str(reply.read().decode())
            # nginx writes the line after the answer.
            self.wait_for(lambda: self.log_lines() > logged)
            return zone
        return None

    def log_lines(self) -> int:
        return sum(file.read_bytes().count(b"\n") for file in self.folder.glob("access.log*"))

    def wait_for(self, condition: Callable[[], bool], within: float = 15.0) -> None:
        wait_for(condition, within)

    @property
    def master(self) -> int:
        return int(self.pidfile.read_text())

    def stop(self) -> None:
        self.zone_a.close()
        self.zone_b.close()
        # `nginx -t` alone makes the pid file, too, and leaves it empty.
        if self.pidfile.exists() and self.pidfile.read_text().strip():
            master = self.master
            with suppress(ProcessLookupError):
                os.kill(master, signal.SIGTERM)
            self.wait_for(lambda: not self.pidfile.exists())

    def inventory(self, **gateway: object) -> Inventory:
        own = {
            "config": str(self.live),
            "upstream": "service",
            "test": self.test,
            "reload": self.reload,
            "access_log": str(self.folder / "access.log"),
            "error_log": str(self.error_log),
            "pidfile": str(self.pidfile),
        }
        return inventory_of(self.port, self.primary, self.standby, {**own, **gateway})

    def gateway(self, **options: object) -> Gateway:
        return gateway_of(self.inventory(**options), {"gateway": LocalTransport("gateway")}, "run-1")

    def adopt(self, **options: object) -> Inventory:
        """Make the live config fit for a kind of gateway, as `drillctl gateway adopt` does; return the inventory."""
        inventory = self.inventory(**options)
        assert isinstance(inventory.gateway, Nginx)
        self.live.write_bytes(adopt(self.live.read_bytes(), inventory.gateway, [self.primary], [self.standby]))
        return inventory

    @property
    def flag(self) -> Path:
        return self.folder / "flags" / "service.standby"

    def leftovers(self) -> list[Path]:
        return sorted(self.folder.rglob(".drillctl*"))


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[RunningHaproxy]:
    """Yield an HAProxy that is not started yet."""
    if HAPROXY is None:
        pytest.skip("haproxy is not installed")
    running = RunningHaproxy(tmp_path)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[RunningNginx]:
    """Yield an nginx that is not started yet, so that its files can still be written differently."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    running = RunningNginx(tmp_path)
    try:
        yield running
    finally:
        running.stop()
