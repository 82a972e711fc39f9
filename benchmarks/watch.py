"""How much of a core `drillctl watch` takes for 20 hosts: a patrol of 20 real sshd, its CPU time read from /proc.

    python benchmarks/watch.py [--hosts 20] [--every 30] [--looks 6]

Each host is an sshd of its own on a loopback address; one small HTTP server stands in for their inference servers and
for the gateway's data path, because what is measured is the patrol. Needs sshd (openssh-server). Prints one JSON line.
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from hashlib import sha256
from pathlib import Path

from ruamel.yaml import YAML

from drillctl.lab import ground, sshfiles
from drillctl.lab.daemons import free_port
from drillctl.lab.sshfiles import Login

TICKS = os.sysconf("SC_CLK_TCK")
MODEL = b"a model of few bytes"


class Servers(http.server.BaseHTTPRequestHandler):
    """Answers /health and /info for every host, by the address that was asked."""

    roles: dict[str, tuple[str, str, str]] = {}  # noqa: RUF012 - filled once, before the server starts
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name, zone, role = self.roles[self.connection.getsockname()[0]]
        primary = role == "primary"
        info = {
            "service": "main" if primary else "backup",
            "is_primary": primary,
            "model": {"sha256": sha256(MODEL).hexdigest()},
            "device": "cpu",
            "fingerprint": {f"entry_{number}": "value" for number in range(25)},
        }
        body = json.dumps({"status": "healthy", "uptime_sec": 1.0} if self.path == "/health" else info).encode()
        self.send_response(200)
        self.send_header("X-Served-Zone", zone)
        self.send_header("X-Served-Host", name)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: a log would be measured as well."""


def main() -> None:
    """Measure, and print what was measured."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    words.add_argument("--hosts", type=int, default=20)
    words.add_argument("--every", type=int, default=30)
    words.add_argument("--looks", type=int, default=6)
    given = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="drillctl-bench-") as folder:
        print(json.dumps(measure(Path(folder), given.hosts, given.every, given.looks)))


def measure(folder: Path, hosts: int, every: int, looks: int) -> dict[str, object]:
    """Start the fleet, watch it for so many looks after the first two, and return the CPU time that took."""
    daemons: list[subprocess.Popen[bytes]] = []
    servers: list[http.server.ThreadingHTTPServer] = []
    try:
        inventory = fleet(folder, hosts, daemons, servers)
        command = [sys.executable, "-m", "drillctl", "watch", "--inventory", str(inventory), "--every", f"{every}s"]
        environment = {**os.environ, "DRILLCTL_HOME": str(folder / "home")}
        with (folder / "out").open("wb") as out:
            watch = subprocess.Popen([*command, "--metrics", "127.0.0.1:0"], stdout=out, env=environment)
        try:
            return observe(watch, folder / "out", hosts, every, looks)
        finally:
            watch.send_signal(signal.SIGTERM)
            watch.wait(30)
    finally:
        for daemon in daemons:
            daemon.terminate()
        for daemon in daemons:
            daemon.wait()
        for server in servers:
            server.shutdown()


def observe(watch: subprocess.Popen[bytes], out: Path, hosts: int, every: int, looks: int) -> dict[str, object]:
    """Read CPU time and looks at the beginning and at the end."""
    wait_for_looks(watch, out, 2)
    began, before, first = time.monotonic(), cpu(watch.pid), metric(out, "drillctl_watch_looks_total")
    durations = []
    while (done := metric(out, "drillctl_watch_looks_total") - first) < looks:
        time.sleep(min(every, 5.0))  # about as often as Prometheus asks
        durations.append(metric(out, "drillctl_watch_look_duration_seconds"))
    # To the next look, so that each counts with the pause behind it.
    wall, used = time.monotonic() - began, cpu(watch.pid) - before
    said = out.read_text().splitlines()
    return {
        "hosts": hosts,
        "every_seconds": every,
        "looks": int(done),
        "cpu_seconds": round(used, 3),
        "wall_seconds": round(wall, 1),
        "percent_of_a_core": round(100 * used / wall, 2),
        "look_seconds_median": round(statistics.median(durations), 3),
        "load_average": os.getloadavg()[0],
        "said": [line for line in said if not line.startswith("#") and " started " not in line],
    }


def wait_for_looks(watch: subprocess.Popen[bytes], out: Path, wanted: int) -> None:
    """Wait until the patrol has looked so often."""
    deadline = time.monotonic() + 120
    while True:
        if watch.poll() is not None:
            raise SystemExit(f"the patrol ended: {out.read_text()}")
        if "# metrics at" in out.read_text() and metric(out, "drillctl_watch_looks_total") >= wanted:
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"the patrol did not look {wanted} times: {out.read_text()}")
        time.sleep(0.1)


def metric(out: Path, name: str) -> float:
    """Return a metric of the patrol, as Prometheus would get it; 0 before it is known."""
    import urllib.request

    address = next(line for line in out.read_text().splitlines() if line.startswith("# metrics at")).split()[-1]
    with urllib.request.urlopen(address, timeout=10) as reply:
        text = reply.read().decode()
    return next((float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name)), 0.0)


def cpu(pid: int) -> float:
    """Return the seconds of CPU time that a process and its children have used (proc(5), fields 14 to 17)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / TICKS


def fleet(
    folder: Path, hosts: int, daemons: list[subprocess.Popen[bytes]], servers: list[http.server.ThreadingHTTPServer]
) -> Path:
    """Start an sshd for each host and for the gateway, and their servers; return the inventory."""
    import getpass

    user = getpass.getuser()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    key = sshfiles.make_key(folder / sshfiles.LOGIN_KEY, "drillctl-bench")
    (folder / "authorized_keys").write_bytes(key.public)
    (folder / "model").write_bytes(MODEL)
    names = ["gateway", *(f"host-{number}" for number in range(hosts))]
    addresses = {name: f"127.0.{100 + number}.1" for number, name in enumerate(names)}
    keys = {}
    for name, address in addresses.items():
        login = Login(name, address, free_port(address, 2222), user)
        (folder / name).mkdir()
        keys[login] = sshfiles.make_key(folder / name / "host_key", name)
        config = sshfiles.sshd_config(
            host_key=str(folder / name / "host_key"),
            authorized_keys=str(folder / "authorized_keys"),
            pam=False,
            extra=(
                f"ListenAddress {address}",
                f"Port {login.port}",
                f"PidFile {folder / name / 'pid'}",
                "StrictModes no",
                "PermitRootLogin prohibit-password",
                f"SetEnv HOME={folder / name}",
            ),
        )
        (folder / name / "sshd_config").write_text(config)
        words = [ground.required("sshd"), "-D", "-e", "-f", str(folder / name / "sshd_config")]
        daemons.append(subprocess.Popen(words, stderr=subprocess.DEVNULL))
    sshfiles.write_client_files(folder, keys)
    zones = {name: ("zone-a", "primary") if n % 2 else ("zone-b", "standby") for n, name in enumerate(names)}
    zones["gateway"] = ("zone-a", "primary")
    Servers.roles = {address: (name, *zones[name]) for name, address in addresses.items()}
    for address in addresses.values():
        server = http.server.ThreadingHTTPServer((address, 8080), Servers)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
    return write_inventory(folder, {login.host: login for login in keys}, zones)


def write_inventory(folder: Path, logins: dict[str, Login], zones: dict[str, tuple[str, str]]) -> Path:
    """Write the inventory, and the config that the gateway is said to have."""
    lines = [
        f"    {'' if zones[name][0] == 'zone-a' else '# '}server {login.address}:8080;"
        for name, login in logins.items()
        if name != "gateway"
    ]
    (folder / "recognition.conf").write_text("upstream recognition {\n" + "\n".join(lines) + "\n}\n")

    def host(login: Login) -> dict[str, object]:
        return {"name": login.host, "address": login.address, "ssh": {"port": login.port}}

    document = {
        "name": "bench",
        "environment": "lab",
        "zones": [
            {
                "name": zone,
                "role": role,
                "failure_domain": zone,
                "hosts": [host(logins[name]) for name in logins if name != "gateway" and zones[name][0] == zone],
            }
            for zone, role in (("zone-a", "primary"), ("zone-b", "standby"))
        ],
        "service": {
            "port": 8080,
            "model": {"path": str(folder / "model"), "sha256": sha256(MODEL).hexdigest()},
            "start": {"kind": "systemd", "unit": "inference.service"},
        },
        "gateway": {
            "hosts": [host(logins["gateway"])],
            "url": f"http://{logins['gateway'].address}:8080",
            "config": str(folder / "recognition.conf"),
            "upstream": "recognition",
        },
        "ssh": {
            "user": next(iter(logins.values())).user,
            "key": str(folder / sshfiles.LOGIN_KEY),
            "known_hosts": str(folder / "known_hosts"),
        },
    }
    path = folder / "inventory.yaml"
    with path.open("w") as file:
        YAML(typ="safe").dump(document, file)
    return path


if __name__ == "__main__":
    main()
