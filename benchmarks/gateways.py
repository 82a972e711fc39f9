"""How long clients are without service by each kind of gateway: whole drills in the lab, figures from their reports.

Run: .venv/bin/python benchmarks/gateways.py [ROUNDS [KIND...]]. `rounds` is for a table of faults by kinds.

Each drill is drillctl itself at 100 requests a second; what is measured is what its traffic saw. For `nginx-passive`,
which nobody switches, the playbook has no `detect` and no `switch`, and what counts is what was lost.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from drillctl import lab as labs
from drillctl import playbook as playbooks
from drillctl.inventory import GatewayKind

if TYPE_CHECKING:
    from collections.abc import Iterator

RATE = 100
KINDS: tuple[GatewayKind, ...] = get_args(GatewayKind)

_STEPS = {
    True: """
  - step: fault
  - {step: detect, within_seconds: 10}
  - {step: switch, within_seconds: 10}
  - {step: verify, zone: standby}""",
    False: """
  - step: fault
  - {step: verify, zone: standby}""",
}


@dataclass(frozen=True)
class Round:
    """One drill: seconds (None: no outage was seen), requests lost, and what failed while everything was put back."""

    kind: GatewayKind
    verdict: str
    outage: float | None
    detection: float | None
    switch: float | None
    lost: int
    slow: int
    restore_failures: int


def playbook(folder: Path, kind: GatewayKind) -> Path:
    """Write the playbook of a kind of gateway into a folder and return its path."""
    switched = kind != "nginx-passive"
    images = playbooks.find("zone-failover").parent / "images"
    restore = "  - {step: heal, ready_seconds: 60}\n" + ("  - step: failback\n" if switched else "")
    path = folder / f"{kind}.yaml"
    path.write_text(
        f"name: bench-{kind}\ndescription: a kill, measured\n"
        f"traffic: {{rate: {RATE}, images: '{images}', baseline_seconds: 2, observation_seconds: 2}}\n"
        f"steps:{_STEPS[switched]}\nrestore:\n{restore}  - {{step: verify, zone: primary}}\n",
        encoding="utf-8",
    )
    return path


def rounds(kind: GatewayKind, number: int, file: Path, home: Path) -> Iterator[Round]:
    """Drill the lab that is up `number` times by a playbook, and yield what each drill measured."""
    for _ in range(number):
        words = [sys.executable, "-m", "drillctl", "run", str(file), "--lab", "--yes", "--json"]
        environment = {**os.environ, "DRILLCTL_HOME": str(home)}
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
        if done.returncode not in {0, 1, 3}:
            sys.exit(done.stderr)
        yield read(kind, json.loads(done.stdout))


def read(kind: GatewayKind, report: dict[str, Any]) -> Round:
    """Return what a report says of one drill."""
    recovery = report["recovery"] or {}
    return Round(
        kind=kind,
        verdict=report["verdict"],
        outage=recovery.get("outage_seconds"),
        detection=recovery.get("detection_seconds"),
        switch=recovery.get("switch_seconds"),
        lost=report["traffic"]["failed"] - report["restore"]["failed_requests"],
        slow=report["traffic"]["slow"],
        restore_failures=report["restore"]["failed_requests"],
    )


def main() -> None:
    """Measure each kind, one lab for each, and print the table."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    kinds = [kind for kind in KINDS if kind in sys.argv[2:]] or list(KINDS)
    print(f"{platform.machine()}, Linux {platform.release()}, {os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d}")
    print(f"kill -9 at {RATE} requests/s; median (lowest to highest) of {number}; seconds, or requests")
    print(f"{'kind':<14} {'outage':>20} {'detection':>20} {'switch':>20} {'lost':>12} {'in restore':>12}")
    for kind in kinds:
        labs.down()
        labs.up(gateway=kind)
        try:
            with tempfile.TemporaryDirectory() as name:
                measured = list(rounds(kind, number, playbook(Path(name), kind), Path(name) / "home"))
        finally:
            labs.down()
        times = (
            _spread([getattr(one, part) for one in measured], "{:.3f}") for part in ("outage", "detection", "switch")
        )
        counts = (_spread([getattr(one, part) for one in measured], "{:.0f}") for part in ("lost", "restore_failures"))
        outage, detection, switch = times
        lost, restore = counts
        print(f"{kind:<14} {outage:>20} {detection:>20} {switch:>20} {lost:>12} {restore:>12}", flush=True)


def _spread(values: list[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "none seen"
    low, middle, high = (form.format(v) for v in (min(known), statistics.median(known), max(known)))
    return middle if low == high else f"{middle} ({low} to {high})"


if __name__ == "__main__":
    main()
