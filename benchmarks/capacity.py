"""What the way through SSH adds to the load check of the standby: the same load both ways, in turns, in the lab.

    python -m benchmarks.capacity [--rounds 3] [--seconds 3]

Prints the median over the rounds of the p50 and p99 of a load straight on the standby's server, and of the same load
through the gateway host's SSH, over kept connections in both cases.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from drillctl import inventory as inventories
from drillctl import lab as labs
from drillctl import playbook as playbooks
from drillctl import survey
from drillctl.errors import HostError
from drillctl.hosts import fleet as fleets
from drillctl.hosts.forward import Forward
from drillctl.hosts.service import manager_of
from drillctl.traffic.outage import Counts, count
from drillctl.traffic.spec import TrafficSpec
from drillctl.traffic.stream import Traffic

RATES = (20, 50, 100)


def load(address: str, port: int, rate: float, seconds: float, images: tuple[Path, ...]) -> Counts:
    """Load a server for some seconds and return what became of it."""
    spec = TrafficSpec(
        url=f"http://{address}:{port}/predict", rate=rate, images=tuple(map(str, images)), lanes=("keepalive",)
    )
    with tempfile.TemporaryDirectory() as folder, Traffic.start(spec, Path(folder) / "probes.jsonl") as traffic:
        time.sleep(seconds)
        return count(traffic.stop())


def main() -> None:
    """Bring up the lab if it is not, measure, and put it away again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    images = playbooks.images(playbooks.load(playbooks.find("zone-failover")))
    current = labs.current()
    made = current or labs.up()
    try:
        estate = inventories.load(made.inventory)
        host = estate.zone("standby").hosts[0]
        with fleets.connect(estate) as fleet:
            manager_of(estate, host, fleet[host]).start()
            wait_until_ready(estate, fleet, host)
            transport, address, port = survey.way_to(estate, fleet, host)
            found: dict[tuple[float, str], list[Counts]] = {}
            with Forward(transport, address, port) as forward:
                for _ in range(options.rounds):
                    for rate in RATES:
                        for way, to in (("straight", (address, port)), ("through SSH", ("127.0.0.1", forward.port))):
                            found.setdefault((rate, way), []).append(load(*to, rate, options.seconds, images))
    finally:
        if current is None:
            labs.down()
    print(f"load average {os.getloadavg()[0]:.1f}, {options.rounds} rounds of {options.seconds:g} s each")
    for (rate, way), counts in found.items():
        p50, p99 = (statistics.median(getattr(c.latency, name) * 1000 for c in counts) for name in ("p50", "p99"))
        print(f"{rate:4g}/s {way:12} p50 {p50:6.1f} ms  p99 {p99:6.1f} ms  failed {sum(c.failed for c in counts)}")


def wait_until_ready(estate: inventories.Inventory, fleet: fleets.Fleet, host: inventories.Host) -> None:
    """Wait until the server answers 200 to a question for its health."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if survey.ask(estate, fleet, host, "/health").status == 200:
                return
        except HostError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"{host.name} did not get ready")


if __name__ == "__main__":
    main()
