"""What clients see of each fault by each kind of gateway: whole drills in the lab, figures from their reports.

Run: make bench-faults, or .venv/bin/python -m benchmarks.faults [--rounds 5] [--rate 100] [--kinds nginx,haproxy]
[--faults kill,hang]. One lab for each kind of gateway; the drills of a fault follow each other, the servers stay up.

`kill`, `hang` and `partition` of the primary; `switchover` without a fault, at the same rate, in all rounds together
long enough for 5,000 requests there and 5,000 back; `both` kills both zones one after the other, and looks at the
fallback answer. "Lost in heal" counts while the struck server is put right, for which it loads PyTorch beside the one
that serves; "lost in failback" counts from then on.
"""

from __future__ import annotations

import argparse
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
from drillctl.report.stored import read_probes
from drillctl.traffic.outage import count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KINDS: tuple[GatewayKind, ...] = get_args(GatewayKind)
PASSIVE: GatewayKind = "nginx-passive"
FAULTS = ("kill", "hang", "partition", "switchover", "both")
SWITCHED_REQUESTS = 5000
INCOMPLETE = 6
MEASURED = {0, 1, 3, 5, INCOMPLETE}
"""Exit codes of drills that have struck: also one that was stopped, or could not put everything back, has its row."""

STEPS = {
    "kill": "  - {step: fault, fault: kill}\n",
    "hang": "  - {step: fault, fault: hang}\n",
    "partition": "  - {step: fault, fault: partition}\n",
    "switchover": "",
    "both": "  - {step: fault, fault: kill}\n",
}
DETECT = "  - {step: detect, failures: 3, slow_seconds: 0.4, within_seconds: 20}\n"
SWITCH = "  - {step: switch, within_seconds: 20}\n"
FALLBACK = (
    "  - {step: fault, fault: kill, zone: standby}\n  - {step: fallback, observe_seconds: 2}\n"
    "  - {step: start, zone: standby}\n  - {step: verify, zone: standby}\n"
)


@dataclass(frozen=True)
class Round:
    """One drill: seconds (None: there was none), and numbers of requests."""

    verdict: str
    outage: float | None
    detection: float | None
    switch: float | None
    fallback: float | None
    lost: int
    slow: int
    heal: int
    failback: int
    sent: int


def playbook(folder: Path, kind: GatewayKind, fault: str, rate: int, rounds: int = 1) -> Path:
    """Write the playbook of a fault for a kind of gateway into a folder and return its path."""
    images = playbooks.find("zone-failover").parent / "images"
    passive = kind == PASSIVE
    seconds = SWITCHED_REQUESTS / rounds / rate if fault == "switchover" else 2
    steps = STEPS[fault] + ("" if passive or fault == "switchover" else DETECT) + ("" if passive else SWITCH)
    steps += "  - {step: verify, zone: standby}\n" + (FALLBACK if fault == "both" else "")
    heal = "" if fault == "switchover" else "  - {step: heal, ready_seconds: 60}\n"
    failback = "" if passive else "  - {step: failback}\n"
    path = folder / f"{kind}-{fault}.yaml"
    path.write_text(
        f"name: bench-{fault}\ndescription: measured at {rate} requests a second\n"
        f"expects: {{also_strikes: both}}\n"
        f"objectives: {{fallback_seconds: {'1.5' if fault == 'both' else 'null'}}}\n"
        f"traffic: {{rate: {rate}, images: '{images}', baseline_seconds: 2, observation_seconds: {seconds}}}\n"
        f"steps:\n{steps}restore:\n{heal}{failback}  - {{step: verify, zone: primary}}\n",
        encoding="utf-8",
    )
    return path


def drill(file: Path, home: Path) -> Round:
    """Drill the lab that is up by a playbook; return what its report says. Exits when it did not begin."""
    words = [sys.executable, "-m", "drillctl", "run", str(file), "--lab", "--yes", "--json"]
    environment = {**os.environ, "DRILLCTL_HOME": str(home)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    if done.returncode not in MEASURED:
        sys.exit(done.stderr)
    if done.returncode == INCOMPLETE:
        # Its guards hold their leases until it is put right.
        recover = [sys.executable, "-m", "drillctl", "recover", "--lab"]
        if (
            put := subprocess.run(recover, capture_output=True, text=True, check=False, env=environment)
        ).returncode != 0:
            sys.exit(put.stderr or put.stdout)
    return read(json.loads(done.stdout))


def read(report: dict[str, Any]) -> Round:
    """Return what a report says of one drill."""
    recovery, restore = report["recovery"], report["restore"]["failed_requests"] or 0
    # Healing lasts until something else is done.
    after = [s["started"] for s in report["steps"] if s["section"] == "restore" and s["name"] not in {"heal", "start"}]
    probes, _ = read_probes(Path(report["folder"]) / "probes.jsonl")
    failback = count(probes, min(after, default=float("inf")) + report["timeline"]["clock"]).failed
    fallback = next((o["measured"] for o in report["objectives"] if o["name"] == "fallback answer"), "")
    return Round(
        verdict=report["verdict"],
        outage=recovery["outage_seconds"],
        detection=recovery["detection_seconds"],
        switch=recovery["switch_seconds"],
        fallback=float(fallback.split()[-2]) if fallback.endswith(" s") else None,
        lost=report["traffic"]["failed"] - restore,
        slow=report["traffic"]["slow"],
        heal=restore - failback,
        failback=failback,
        sent=report["traffic"]["sent"],
    )


COLUMNS: tuple[tuple[str, Callable[[Round], float | None], str], ...] = (
    ("outage, s", lambda one: one.outage, "{:.3f}"),
    ("detection, s", lambda one: one.detection, "{:.3f}"),
    ("switch, s", lambda one: one.switch, "{:.3f}"),
    ("lost", lambda one: one.lost, "{:.0f}"),
    ("slow", lambda one: one.slow, "{:.0f}"),
    ("lost in heal", lambda one: one.heal, "{:.0f}"),
    ("lost in failback", lambda one: one.failback, "{:.0f}"),
    ("fallback, s", lambda one: one.fallback, "{:.2f}"),
)


def spread(values: Sequence[float | None], form: str) -> str:
    """Return the median with the lowest and highest; a dash where there was nothing."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    low, middle, high = (form.format(v) for v in (min(known), statistics.median(known), max(known)))
    return middle if low == high else f"{middle} ({low} to {high})"


def main() -> None:
    """Measure, and print one table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--faults", default=",".join(FAULTS))
    given = parser.parse_args()
    kinds = [kind for kind in KINDS if kind in given.kinds.split(",")]
    faults = [fault for fault in FAULTS if fault in given.faults.split(",")]
    load = os.getloadavg()[0]
    print(
        f"{platform.machine()}, Linux {platform.release()}, {os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d}, load "
        f"{load:.1f}; {given.rate} requests/s, median (lowest to highest) of {given.rounds} drills\n"
    )
    print("| gateway | fault | " + " | ".join(name for name, _, _ in COLUMNS) + " | verdicts |")
    print("|---|---|" + "---|" * (len(COLUMNS) + 1))
    for kind in kinds:
        labs.down()
        labs.up(gateway=kind)
        try:
            with tempfile.TemporaryDirectory() as name:
                folder, home = Path(name), Path(name) / "home"
                drill(playbook(folder, kind, "kill", 20), home)  # starts the servers
                for fault in faults:
                    if kind == PASSIVE and fault == "switchover":
                        continue
                    file = playbook(folder, kind, fault, given.rate, given.rounds)
                    measured = [drill(file, home) for _ in range(given.rounds)]
                    cells = [spread([part(one) for one in measured], form) for _, part, form in COLUMNS]
                    passed = sum(one.verdict == "passed" for one in measured)
                    print(
                        f"| {kind} | {fault} | {' | '.join(cells)} | {passed} of {len(measured)} passed |", flush=True
                    )
        finally:
            labs.down()


if __name__ == "__main__":
    main()
