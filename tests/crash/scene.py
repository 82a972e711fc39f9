"""A lab in its steady state, clients that ask all the time, and drills on it that are disturbed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from drillctl import lab as labs
from drillctl.lab.process import Process, carrying
from tests.crash.client import Client, Span, spans
from tests.crash.machine import Machine, Picture, differences

if TYPE_CHECKING:
    from collections.abc import Callable

PROJECT = Path(__file__).resolve().parents[2]
TTL = 5
GRACE = 5.0
"""Seconds beyond the lease's time within which there must be service again; a server's loading comes on top."""

PLAYBOOK = """\
name: crash
description: the shipped drill with short windows and a short lease
objectives: {lost_requests: 1000}
traffic: {rate: 20, images: images, baseline_seconds: 0.5, observation_seconds: 0.5}
guard: {ttl_seconds: TTL}
capacity: {seconds: 0.5}
start: {ready_seconds: 60}
steps:
  - step: fault
  - {step: detect, within_seconds: 10}
  - {step: switch, within_seconds: 10}
  - {step: verify, zone: standby}
restore:
  - {step: heal, ready_seconds: 60}
  - step: failback
  - {step: verify, zone: primary}
"""
IMAGES = 4
"""How many of the shipped images are asked; each costs the hosts as much as a client's request."""

SETTLED = 8.0
"""Seconds within which what is ending anyway (sessions, old workers, a guard's watch) must be gone."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


class Scene:
    """One lab. Its servers are enabled units, as on hosts that are rebooted now and then."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lab = labs.up("systemd")
        self.inventory = self.lab.inventory
        self.machines = {host.name: Machine(self.lab, host.name) for host in self.lab.hosts}
        self.addresses = {host.name: host.address for host in self.lab.hosts}
        self.zones = [host.name for host in self.lab.hosts if host.zone]
        self.client, self.servers = self._clients()
        self.reference: dict[str, Picture] = {}
        self._runs = 0

    def __enter__(self) -> Self:
        try:
            self.client.__enter__()
            for server in self.servers.values():
                server.__enter__()
            for name in self.zones:
                self.machines[name].shell("systemctl enable --now inference 2>&1")
            self.wait(lambda: all(self.is_ready(name) for name in self.zones), 120, "both servers are ready")
            self.wait(lambda: self.client.good_for(0.5, 0), 20, "clients are served")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the clients and remove the lab."""
        self.client.close()
        for server in self.servers.values():
            server.close()
        labs.down()

    def _clients(self) -> tuple[Client, dict[str, Client]]:
        """Return the client of the gateway, and one by host that asks each model server directly."""
        images = sorted((PROJECT / "playbooks" / "images").iterdir())[:IMAGES]
        (self.folder / "images").mkdir(exist_ok=True)
        for image in images:
            shutil.copy(image, self.folder / "images")
        self.playbook = self.folder / "crash.yaml"
        self.playbook.write_text(PLAYBOOK.replace("TTL", str(TTL)))
        direct = {name: Client(f"http://{self.addresses[name]}:8080/health") for name in self.zones}
        return Client(f"{self.lab.url}/predict", images[0]), direct

    # --- drills -------------------------------------------------------------------------------------------------

    def new_home(self) -> Path:
        """Return a folder for the journals of one machine."""
        self._runs += 1
        home = self.folder / f"home-{self._runs}"
        home.mkdir()
        return home

    def start(
        self, home: Path, *words: str, program: str = "drillctl", environment: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start drillctl, or a program around it, with words of the command line."""
        with (home / "stdout").open("wb") as out, (home / "stderr").open("wb") as err:
            return subprocess.Popen(
                [sys.executable, "-m", program, *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=PROJECT,
                env={**os.environ, "DRILLCTL_HOME": str(home), **(environment or {})},
            )

    def start_drill(self, home: Path, *, program: str = "drillctl", **environment: str) -> subprocess.Popen[bytes]:
        """Start the drill."""
        words = ("run", str(self.playbook), "--inventory", str(self.inventory), "--yes", "--json")
        return self.start(home, *words, program=program, environment=environment)

    def finish(self, process: subprocess.Popen[bytes], home: Path, within: float = 200) -> Ended:
        """Wait for the end of a command; after the time it is killed, which shows in its exit code."""
        try:
            process.wait(within)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return Ended(process.returncode, (home / "stdout").read_text(), (home / "stderr").read_text())

    def wait_for_step(self, process: subprocess.Popen[bytes], home: Path, step: str, event: str = "outcome") -> float:
        """Wait until a drill has journaled a step, and return when. Raises when it ends before."""
        wanted = f'"event": "{event}", "step": "{step}"'

        def journaled() -> bool:
            found = list(home.glob("runs/*/journal.jsonl"))
            return bool(found) and wanted in found[0].read_text()

        self.wait(lambda: journaled() or process.poll() is not None, 100, f"`{step}` is journaled")
        if not journaled():
            raise RuntimeError(f"the drill ended before `{step}`: {(home / 'stderr').read_text()[-500:]}")
        return time.monotonic()

    def recover(self, home: Path | None) -> Ended:
        """Put everything back: with the journal in a folder, or as another machine would, with the inventory alone."""
        if home is not None:
            return self.finish(self.start(home, "recover"), home)
        elsewhere = self.new_home()
        return self.finish(self.start(elsewhere, "recover", "--inventory", str(self.inventory)), elsewhere)

    # --- what is seen -------------------------------------------------------------------------------------------

    def is_ready(self, host: str) -> bool:
        """Tell whether a zone host's server says that it is ready."""
        return Client(f"http://{self.addresses[host]}:8080/health").ask()[0] is not None

    def free(self) -> bool:
        """Tell whether no machine's lease is held."""
        try:
            return not any(machine.held() for machine in self.machines.values())
        except LookupError:
            return False

    def pictures(self) -> dict[str, Picture]:
        """Return what is seen of every machine."""
        with ThreadPoolExecutor(len(self.machines)) as threads:
            return dict(zip(self.machines, threads.map(Machine.picture, self.machines.values()), strict=True))

    def differences(self, home: Path | None = None, within: float = SETTLED) -> list[str]:
        """Return how the machines differ from the reference, once what is ending anyway has ended; and strays here.

        `home`: the run whose processes must be gone on this machine.
        """
        deadline = time.monotonic() + within
        while True:
            found = self._differences(home)
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.2)

    def _differences(self, home: Path | None) -> list[str]:
        strays = [] if home is None else carrying(f"DRILLCTL_HOME={home}")
        found = [f"this machine: process {stray.pid} of the drill still runs" for stray in strays]
        try:
            seen = self.pictures()
        except (LookupError, OSError, RuntimeError, subprocess.SubprocessError) as error:
            return [*found, f"cannot be looked at: {error}"]
        for name, before in self.reference.items():
            found += [f"{name}: {line}" for line in differences(before, seen[name])]
        answered = self.client.since(time.monotonic() - 0.5)
        if not answered or any(one.zone != "zone-a" for one in answered):
            zones = sorted({str(one.zone) for one in answered})
            found.append(f"clients are answered by {', '.join(zones) or 'nobody'}, not by zone-a alone")
        return found

    def outage(self, since: float) -> list[Span]:
        """Return the times without service since a moment."""
        return spans(self.client.since(since))

    def loading(self, zone: str, since: float) -> tuple[float, float]:
        """Return how long a zone's server took to load if it was started since a moment, and when it was ready.

        From the birth of its process (by its start time) to its first good answer, asked directly; 0 when it was not.
        """
        host = next(host.name for host in self.lab.hosts if host.zone == zone)
        pids = self.machines[host].find("-m inference serve")
        process = Process.of(pids[0]) if pids else None
        if process is None:
            return 0.0, 0.0
        ahead = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
        born = process.started / os.sysconf("SC_CLK_TCK") - ahead
        ready = next((one.done for one in self.servers[host].since(born) if one.good), None)
        if born < since or ready is None:
            return 0.0, 0.0
        return ready - born, ready

    def wait(self, condition: Callable[[], bool], within: float, what: str) -> None:
        """Wait until something is so. Raises TimeoutError, in words."""
        deadline = time.monotonic() + within
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {within:g} s: {what}")
            time.sleep(0.03)
