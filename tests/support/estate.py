"""The lab's estate as the drill tests use it: look at it from outside drillctl, change it, drill it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import requests
from ruamel.yaml import YAML

from drillctl import inventory as inventories
from drillctl.errors import NotStarted
from drillctl.lab import ground
from drillctl.privileges import installer

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.lab import Lab

ON_MACHINES = [
    pytest.mark.lab,
    pytest.mark.skipif(
        bool(ground.missing(ground.FOR_MACHINES)) or ground.obstacle() is not None,
        reason="machines of their own cannot be had here",
    ),
]
"""The marks of tests that need hosts with a systemd of their own."""

CONFIG = "/etc/nginx/conf.d/recognition.conf"
MODEL = "/srv/model/model.safetensors"

# The shipped drill with short windows, so that a test takes seconds.
PLAYBOOK = """
name: quick-failover
description: the shipped drill with short windows
objectives: {lost_requests: 100}
traffic: {rate: 20, images: IMAGES, baseline_seconds: 1, observation_seconds: 1}
start: {ready_seconds: 60}
capacity: {seconds: 1}
steps:
  - step: fault
  - {step: detect, within_seconds: 10}
  - {step: switch, within_seconds: 10}
  - {step: verify, zone: standby}
restore:
  - {step: heal, ready_seconds: 30}
  - step: failback
  - {step: verify, zone: primary}
"""


@dataclass(frozen=True)
class Drilled:
    """What a command did: exit code, both outputs, and the report when it printed one."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        document = json.loads(self.out)
        assert isinstance(document, dict)
        return document


class Estate:
    """The lab's hosts, with both servers running and the gateway on the primary."""

    _installed_for_another: ClassVar[bool] = False

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.home = folder / "home"
        self.inventory = lab.inventory
        self.playbook = folder / "quick.yaml"
        images = Path(__file__).resolve().parents[2] / "playbooks" / "images"
        self.playbook.write_text(PLAYBOOK.replace("IMAGES", str(images)))

    def on(self, host: str, script: str, *, check: bool = True) -> str:
        """Return what a shell script prints on a host, as its root: who nobody can log in as, and drillctl is not.

        Of a host that is down, nothing, unless `check`.
        """
        try:
            words = self.lab.root_command(host, ["sh", "-c", script])
        except NotStarted:
            if check:
                raise
            return ""
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    def state(self) -> dict[str, str]:
        """Return what must be the same before and after: config, units, drop-ins and staged files."""
        gateway = (
            f"sha256sum {CONFIG}; stat -c '%a %u:%g' {CONFIG}; ls -A /etc/nginx /etc/nginx/conf.d;"
            " systemctl is-active nginx; cat /run/nginx.pid"
        )
        zone = (
            f"sha256sum {MODEL}; systemctl is-active inference; systemctl show -p Restart inference;"
            " ls -A /run/systemd/system; ls -A /run/systemd/system/inference.service.d 2>/dev/null || true"
        )
        return {"gateway": self.on("gateway", gateway)} | {
            host: self.on(host, zone) for host in ("zone-a-1", "zone-b-1")
        }

    def pid(self, host: str) -> str:
        """Return the main pid of a host's server."""
        return self.on(host, "systemctl show -p MainPID --value inference")

    def install(self, inventory: Path) -> None:
        """Install on every host what an inventory needs to be run as root there, as its administrator would."""
        estate = inventories.load(inventory)
        for host in estate.hosts:
            done = subprocess.run(
                self.lab.root_command(host.name, ["sh"]),
                input=installer.install_script(estate, host),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stderr

    def by_sudo(self) -> Path:
        """Return an inventory by which any command is run as root, as it must be for what only a playbook knows."""
        for host in self.lab.hosts:
            self.on(host.name, "echo 'drill ALL = (root) NOPASSWD: ALL' >/etc/sudoers.d/any")
        Estate._installed_for_another = True
        return self._written(lambda document: document["ssh"].update(privileges="sudo"))

    def start_servers(self) -> None:
        """Start both servers and wait until each is ready, without drillctl.

        What a test before had installed for an inventory of its own makes way for what the lab's needs.
        """
        if Estate._installed_for_another:
            self.install(self.inventory)
            for host in self.lab.hosts:
                self.on(host.name, "rm -f /etc/sudoers.d/any")
            Estate._installed_for_another = False
        for host in ("zone-a-1", "zone-b-1"):
            self.on(host, "systemctl start inference")
        for host in self.lab.hosts:
            if host.zone:
                self.wait_for(lambda address=host.address: _healthy(address), 60)  # type: ignore[misc]

    def serving_zone(self) -> str | None:
        """Return the zone that answers a client now."""
        try:
            return requests.get(f"{self.lab.url}/info", timeout=5).headers.get("X-Served-Zone")
        except requests.RequestException:
            return None

    def changed_inventory(self, change: Callable[[dict[str, Any]], None]) -> Path:
        """Return a copy of the inventory after a change, with what it needs installed on the hosts."""
        path = self._written(change)
        Estate._installed_for_another = True
        self.install(path)
        return path

    def _written(self, change: Callable[[dict[str, Any]], None]) -> Path:
        yaml = YAML(typ="safe")
        document = yaml.load(self.lab.inventory.read_text())
        for name in ("key", "known_hosts"):
            document["ssh"][name] = str(self.lab.inventory.parent / document["ssh"][name])
        change(document)
        path = self.folder / "changed-inventory.yaml"
        with path.open("w") as file:
            yaml.dump(document, file)
        return path

    def changed_playbook(self, before: str, after: str) -> Path:
        """Return a copy of the quick playbook with a piece of its text replaced."""
        text = self.playbook.read_text()
        assert before in text
        path = self.folder / "changed-playbook.yaml"
        path.write_text(text.replace(before, after))
        return path

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start drillctl with words of the command line."""
        with (self.folder / "stderr").open("w") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "drillctl", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "DRILLCTL_HOME": str(self.home)},
            )

    def finish(self, process: subprocess.Popen[str]) -> Drilled:
        """Wait for its end."""
        out, _ = process.communicate(timeout=200)
        err = self.progress()
        assert "Traceback" not in out + err, err
        return Drilled(process.returncode, out, err)

    def progress(self) -> str:
        """Return what it has said on stderr so far."""
        return (self.folder / "stderr").read_text()

    def run(self, *words: str) -> Drilled:
        """Run drillctl to its end."""
        return self.finish(self.start(*words))

    def drill(self, inventory: Path | None = None, playbook: Path | None = None) -> Drilled:
        """Run the quick drill and return its report."""
        return self.finish(self.start_drill(inventory, playbook))

    def start_drill(self, inventory: Path | None = None, playbook: Path | None = None) -> subprocess.Popen[str]:
        """Start the quick drill."""
        where = str(inventory or self.inventory)
        return self.start("run", str(playbook or self.playbook), "--inventory", where, "--yes", "--json")

    def wait_for(self, condition: Callable[[], bool], timeout: float = 60) -> None:
        """Wait until something holds; fail when it does not in time."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, self.progress() if (self.folder / "stderr").exists() else "timeout"
            time.sleep(0.02)

    def wait_for_step(self, name: str) -> None:
        """Wait until the drill that runs has ended a step."""
        self.wait_for(lambda: f'"event": "outcome", "step": "{name}"' in self.journal())

    def journal(self) -> str:
        """Return the journal of the last run."""
        runs = sorted(self.home.glob("runs/*/journal.jsonl"))
        return runs[-1].read_text() if runs else ""


def _healthy(address: str) -> bool:
    try:
        return requests.get(f"http://{address}:8080/health", timeout=2).status_code == 200
    except requests.RequestException:
        return False
