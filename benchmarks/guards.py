"""What the guards cost the switch: drills with guards and without, in pairs, in one lab.

Run: make bench-guards (or .venv/bin/python -m benchmarks.guards [PAIRS]).

drillctl has no switch that turns its guards off; here they are replaced by some that do nothing. The order within a
pair alternates, so that what the machine does meanwhile weighs on both. The outage is measured as in every drill: with
R requests a second it is not finer than 1/R s, hence the higher rate and the median of many pairs.
"""

from __future__ import annotations

import contextlib
import io
import os
import platform
import statistics
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from drillctl import inventory as inventories
from drillctl import lab as labs
from drillctl import playbook as playbooks
from drillctl.cli import run as runs
from drillctl.guard.guards import Guards
from drillctl.steps import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from drillctl.guard.lease import Order
    from drillctl.report.model import Report

RATE = 100
WANTED = 1.05

PLAYBOOK = f"""\
name: guards
description: the shipped drill with short windows at a higher rate
# What is measured is over before the restore; where a server loads beside such a load, two cores may not carry it.
objectives: {{lost_requests: 1000, restore_failed_requests: null}}
traffic: {{rate: {RATE}, images: IMAGES, baseline_seconds: 1, observation_seconds: 1}}
steps:
  - step: fault
  - step: detect
  - step: switch
  - {{step: verify, zone: standby}}
restore:
  - step: heal
  - step: failback
  - {{step: verify, zone: primary}}
"""


class NoGuards(Guards):
    """Guards that are not there: no lease, no undo on any host, no heartbeat."""

    def acquire(self, *, again: bool) -> None:
        """Take nothing."""

    def register(self, wanted: Mapping[str, Order]) -> None:
        """Write nothing down."""

    def strike(self, order_id: str, hosts: Iterable[str]) -> None:
        """Strike nothing out."""

    def release(self) -> None:
        """Give nothing back."""

    def start_beats(self, on_lost: Callable[[str, str, bool], None]) -> None:
        """Keep nothing alive."""

    def check(self) -> None:
        """Miss nothing."""


def drill(inventory: Path, playbook: Path, guards: type[Guards]) -> Report:
    """Drill once with one kind of guards. Exits when the drill does not pass."""
    sources = runs.Sources(inventory, playbook)
    vars(connect)["Guards"] = guards
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        report = runs.drill(inventories.load(inventory), playbooks.load(playbook), sources, ())
    if report.verdict != "passed":
        sys.exit(f"a drill ended as {report.verdict}: {report.reason}\n{said.getvalue()}")
    return report


def figures(report: Report) -> tuple[float, float]:
    """Return the outage and its part from detection to the active config, in seconds."""
    recovery = report.recovery
    return recovery.outage_seconds or 0.0, recovery.switch_seconds or 0.0


def say(what: str, with_guards: list[float], without: list[float]) -> float:
    """Print one line of figures; return the ratio of the medians."""
    pairs = [a / b for a, b in zip(with_guards, without, strict=True)]
    ratio = statistics.median(with_guards) / statistics.median(without)

    def shown(values: list[float]) -> str:
        return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"

    print(
        f"{what:<10} with {shown(with_guards)} s, without {shown(without)} s: {ratio:.3f} x;"
        f" pair by pair {statistics.median(pairs):.3f} x ({min(pairs):.2f} to {max(pairs):.2f}), n = {len(pairs)}",
        flush=True,
    )
    return ratio


def main() -> int:
    """Measure, and print two lines; exit code 1 when guards cost more than is allowed."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    labs.down()
    measured: dict[type[Guards], list[tuple[float, float]]] = {Guards: [], NoGuards: []}
    with tempfile.TemporaryDirectory() as name:
        os.environ["DRILLCTL_HOME"] = name
        images = Path(__file__).resolve().parents[1] / "playbooks" / "images"
        playbook = Path(name) / "guards.yaml"
        playbook.write_text(PLAYBOOK.replace("IMAGES", str(images)), encoding="utf-8")
        try:
            inventory = labs.up("systemd").inventory
            drill(inventory, playbook, Guards)  # starts the servers
            for number in range(count):
                order = (Guards, NoGuards) if number % 2 else (NoGuards, Guards)
                for guards in order:
                    measured[guards].append(figures(drill(inventory, playbook, guards)))
        finally:
            labs.down()
    load = os.getloadavg()[0]
    print(f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Linux {platform.release()}, load {load:.1f}")
    ratios = [
        say(what, [pair[n] for pair in measured[Guards]], [pair[n] for pair in measured[NoGuards]])
        for n, what in enumerate(("outage", "switch"))
    ]
    print(f"wanted: outage with guards at most {WANTED} times the one without; measured {ratios[0]:.3f}")
    return 0 if ratios[0] <= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
