"""What least privilege costs: a command by sudo, and the outage of a drill as `drill` and as root, in turns in one lab.

Run: .venv/bin/python -m benchmarks.privileges [--seconds 200]  (as root, no lab up).

The lab's machines refuse root; for this comparison alone, their sshd is told to let it in.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from ruamel.yaml import YAML

from drillctl import lab as labs

COMMANDS = 100
LET_ROOT_IN = """
cp /etc/ssh/authorized_keys/drill /etc/ssh/authorized_keys/root
sed -i -e 's/^PermitRootLogin.*/PermitRootLogin prohibit-password/' -e '/^AllowUsers/d' /etc/ssh/sshd_config
systemctl reload ssh
"""
LOOP = f"i=0; while [ $i -lt {COMMANDS} ]; do %s /usr/local/libexec/drillctl/check >/dev/null; i=$((i + 1)); done"


def timed(argv: list[str]) -> float:
    """Return the milliseconds that each of the commands in a loop takes."""
    begun = time.monotonic()
    subprocess.run(argv, check=True, capture_output=True)
    return (time.monotonic() - begun) * 1000 / COMMANDS


def inventory_of_root(made: labs.Lab, folder: Path) -> Path:
    """Return the lab's inventory as it would be with a login as root."""
    yaml = YAML(typ="safe")
    document = yaml.load(made.inventory.read_text())
    document["ssh"] |= {name: str(made.folder / document["ssh"][name]) for name in ("key", "known_hosts")}
    document["ssh"] |= {"user": "root", "privileges": "login"}
    with (folder / "root.yaml").open("w") as file:
        yaml.dump(document, file)
    return folder / "root.yaml"


def outage(inventory: Path, home: Path) -> tuple[float, float] | None:
    """Drill; return outage and switch in seconds, or None when it was not measured."""
    words = ["run", "zone-failover", "--inventory", str(inventory), "--yes", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "drillctl", *words],
        capture_output=True,
        check=False,
        env={**os.environ, "DRILLCTL_HOME": str(home)},
    )
    recovery = json.loads(done.stdout).get("recovery") or {}
    if recovery.get("outage_seconds") is None or recovery.get("switch_seconds") is None:
        print(f"not measured: {done.stderr.decode().strip().splitlines()[-1:]}")
        return None
    return recovery["outage_seconds"], recovery["switch_seconds"]


def main() -> None:
    """Measure for so many seconds, and print the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=200)
    until = time.monotonic() + parser.parse_args().seconds
    made = labs.up("systemd")
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for host in made.hosts:
                subprocess.run(made.root_command(host.name, ["sh", "-c", LET_ROOT_IN]), check=True)
            by_sudo = timed(made.ssh_command("gateway", ["sh", "-c", LOOP % "sudo -n --"]))
            as_root = timed(made.root_command("gateway", ["sh", "-c", LOOP % ""]))
            print(f"a program by sudo {by_sudo:.1f} ms, as root {as_root:.1f} ms (n = {COMMANDS})", flush=True)
            ways = {"root": inventory_of_root(made, folder), "installed": made.inventory}
            found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
            outage(made.inventory, folder)  # starts the servers
            while time.monotonic() < until:
                for way, inventory in ways.items():
                    if measured := outage(inventory, folder):
                        found[way].append(measured)
                        print(f"{way:<10} outage {measured[0]:.3f} s, switch {measured[1]:.3f} s", flush=True)
            for way, values in found.items():
                if values:
                    outages, switches = zip(*values, strict=True)
                    print(
                        f"{way:<10} n = {len(values)}: outage {median(outages):.3f} s, switch {median(switches):.3f} s"
                    )
            print(f"load average {os.getloadavg()[0]:.1f}")
    finally:
        labs.down()


if __name__ == "__main__":
    main()
