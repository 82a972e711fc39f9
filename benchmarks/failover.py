"""How long clients are without service: drillctl's switch beside the runbook as a shell script, in one lab, in turns.

Run: make bench-failover (or .venv/bin/python benchmarks/failover.py [ROUNDS]).

The script does what a careful person would automate: the standby's config lies ready on the gateway; it asks the
gateway's health every 0.1 s, and after three failures in a row logs in over ssh, renames the config and reloads.
Both see the same fault and the same traffic, and are measured in the same way.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from drillctl import lab as labs
from drillctl import playbook as playbooks
from drillctl.hosts import fleet as fleets
from drillctl.hosts.service import manager_of
from drillctl.inventory import Inventory, load
from drillctl.traffic.outage import Outage, measure_outage
from drillctl.traffic.spec import TrafficSpec
from drillctl.traffic.stream import Traffic

CONFIG = "/etc/nginx/conf.d/recognition.conf"
RATE = 50.0

SCRIPT = f"""
failures=0
while [ $failures -lt 3 ]; do
    sleep 0.1
    if curl -sf -m 1 -o /dev/null "$URL/health"; then failures=0; else failures=$((failures + 1)); fi
done
$SSH 'sudo -n sh -c "mv /root/standby.conf {CONFIG} && nginx -t -q && nginx -s reload"'
"""


@dataclass
class Series:
    """Figures of one kind, in seconds unless the name says otherwise."""

    name: str
    values: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        """Return median and spread."""
        low, high = min(self.values), max(self.values)
        return f"{self.name:<44} {statistics.median(self.values):8.2f}   {low:.2f} to {high:.2f}   n={len(self.values)}"


def drill(home: Path) -> tuple[dict[str, object], float]:
    """Drill the lab that is up; return the report and the seconds that the command took."""
    begun = time.monotonic()
    words = [sys.executable, "-m", "drillctl", "run", "zone-failover", "--lab", "--yes", "--json"]
    environment = {**os.environ, "DRILLCTL_HOME": str(home)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout), time.monotonic() - begun


def script(made: labs.Lab, inventory: Inventory, folder: Path) -> float:
    """Let the script fail over once, measure the outage that clients saw, and put everything back."""
    primary = inventory.zone("primary").hosts[0]
    standby = inventory.zone("standby")
    images = playbooks.images(playbooks.load(playbooks.find("zone-failover")))
    spec = TrafficSpec(url=f"{made.url}/predict", rate=RATE, images=tuple(map(str, images)), timeout=2.0)
    ssh = " ".join(made.ssh_command("gateway", []))
    with fleets.connect(inventory) as fleet, Traffic.start(spec, folder / "script.jsonl") as traffic:
        service = manager_of(inventory, primary, fleet[primary])
        edit = (
            f"s/server {primary.address}/#&/; s/# *server {standby.hosts[0].address}/server {standby.hosts[0].address}/"
        )
        # Nobody logs in as root; the script's author would let it do anything by sudo.
        as_root(
            made,
            f"cp -p {CONFIG} /root/kept.conf && sed -e '{edit}' {CONFIG} > /root/standby.conf &&"
            " echo 'drill ALL = (root) NOPASSWD: ALL' >/etc/sudoers.d/runbook",
        )
        watcher = subprocess.Popen(["bash", "-c", SCRIPT], env={**os.environ, "URL": made.url, "SSH": ssh})
        time.sleep(3)
        began = time.monotonic()
        service.kill()
        watcher.wait(60)
        time.sleep(3)
        probes = traffic.stop()
        service.revive()
        as_root(made, f"rm /etc/sudoers.d/runbook && mv /root/kept.conf {CONFIG} && nginx -s reload")
        while not service.state().running or not ready(primary.address):
            time.sleep(0.2)
    (folder / "script.jsonl").unlink()
    measured = measure_outage(probes, began, standby.name, 1 / RATE, 1.0)
    if not isinstance(measured, Outage):
        sys.exit(f"the script's failover could not be measured: {measured}")
    return measured.seconds


def as_root(made: labs.Lab, line: str) -> None:
    """Run a shell's line on the gateway as its root, who is none of drillctl's."""
    subprocess.run(made.root_command("gateway", ["sh", "-c", line]), capture_output=True, check=True)


def ready(address: str) -> bool:
    """Tell whether a server is ready."""
    return (
        subprocess.run(["curl", "-sf", "-o", "/dev/null", f"http://{address}:8080/health"], check=False).returncode == 0
    )


def lab_up() -> tuple[labs.Lab, float]:
    """Bring the lab up; return it and the seconds until every host answered an SSH login."""
    begun = time.monotonic()
    return labs.up("systemd"), time.monotonic() - begun


def command_time(*words: str) -> float:
    """Return the seconds that a command takes."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-m", "drillctl", *words], capture_output=True, check=True)
    return time.monotonic() - begun


def main() -> None:
    """Measure, and print one table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    up, cold, outage, contender = (
        Series(n)
        for n in (
            "lab up, three hosts answer SSH",
            "drill, lab up to lab down, cold servers",
            "outage by drillctl, kill -9 at 50/s",
            "outage by the shell script, same fault",
        )
    )
    lost = Series("requests lost by failback and restore (number)")
    helped = Series("drillctl --help", [command_time("--help") for _ in range(10)])
    labs.down()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(2):
            _, seconds = drill(folder)
            cold.values.append(seconds)
        for _ in range(3):
            _, seconds = lab_up()
            up.values.append(seconds)
            labs.down()
        made, _ = lab_up()
        try:
            inventory = load(made.inventory)
            drill(folder)
            for _ in range(rounds):
                report, _ = drill(folder)
                outage.values.append(float(report["recovery"]["outage_seconds"]))  # type: ignore[index,call-overload]
                lost.values.append(float(report["restore"]["failed_requests"]))  # type: ignore[index,call-overload]
                contender.values.append(script(made, inventory, folder))
        finally:
            labs.down()
    print(f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}")
    print(f"{'':<44} {'median':>8}   spread")
    for series in (helped, up, cold, outage, contender, lost):
        print(series)
    ratio = statistics.median(contender.values) / statistics.median(outage.values)
    print(f"the script's outage is {ratio:.1f} times drillctl's")


if __name__ == "__main__":
    main()
