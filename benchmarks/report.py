"""How long the report of a run with 60,000 requests takes to build, how large it is, and when a browser shows it.

    python -m benchmarks.report [--runs 5] [--requests 60000] [--run FOLDER]

The run is a recorded one (by default that of the tests) whose requests are repeated, with their times moved on, until
there are enough. First paint is what Chromium's Performance API calls first-contentful-paint, in a window of 1280
pixels, from disk.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
RECORDED: Final = REPOSITORY / "tests" / "cases" / "report" / "recorded"

sys.path.insert(0, str(REPOSITORY / "tests" / "support"))


def multiply(source: Path, target: Path, requests: int) -> None:
    """Copy a run, with its requests before the fault repeated until there are so many."""
    import shutil

    from drillctl.report import stored

    shutil.copytree(source, target)
    run = stored.read(source)
    fault = (run.report.timeline.clock or 0.0) + (run.report.timeline.fault_began or 0.0)
    before = [probe for probe in run.probes if probe.scheduled < fault]
    rest = run.probes[len(before) :]
    interval = 1 / run.report.traffic.rate
    more = max(0, requests - len(run.probes))
    lines: list[str] = []
    for number in range(more + len(before)):
        one = before[number % len(before)]
        moved = before[0].scheduled + (number - more) * interval - one.scheduled
        times = {name: getattr(one, name) + moved for name in ("scheduled", "sent", "done")}
        lines.append(dataclasses.replace(one, seq=number, **times).to_json())
    lines += [dataclasses.replace(one, seq=one.seq + more).to_json() for one in rest]
    (target / "probes.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def build(folder: Path, page: Path) -> tuple[float, float]:
    """Return the seconds from the run's folder to the written page, in this process: by the clock, and of CPU time."""
    from drillctl.report import stored
    from drillctl.report.page import render

    began, worked = time.perf_counter(), time.process_time()
    page.write_text(render(stored.read(folder)), encoding="utf-8")
    return time.perf_counter() - began, time.process_time() - worked


def command(home: Path) -> float:
    """Return the seconds that `drillctl report` takes as a whole, its start included."""
    import subprocess

    began = time.perf_counter()
    words = [sys.executable, "-m", "drillctl", "report"]
    environment = {**os.environ, "DRILLCTL_HOME": str(home)}
    subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, check=True, cwd=REPOSITORY)
    return time.perf_counter() - began


def paints(page: Path, runs: int) -> list[float]:
    """Return the seconds to the first paint, each time with what the browser keeps thrown away."""
    from browser import browser

    found: list[float] = []
    with tempfile.TemporaryDirectory() as profile, browser(Path(profile)) as window:
        for _ in range(runs):
            window.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
            window.open(page)
            script = "return performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)"
            deadline = time.monotonic() + 10
            while not (entries := window.ask(script)) and time.monotonic() < deadline:
                time.sleep(0.02)
            found.append(entries[0] / 1000)
    return found


def shown(values: list[float]) -> str:
    """Return the median, and the lowest and highest."""
    return f"{statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f}, n = {len(values)})"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="Measure the report of a large run.")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--requests", type=int, default=60_000)
    parser.add_argument("--run", type=Path, default=RECORDED)
    arguments = parser.parse_args()
    load = f"load average {os.getloadavg()[0]:.1f} when it began"
    print(f"{os.cpu_count()} × {platform.machine()}, {datetime.now(UTC):%Y-%m-%d}, {load}\n")
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        folder = home / "runs" / "large"
        folder.parent.mkdir()
        multiply(arguments.run, folder, arguments.requests)
        page = folder / "report.html"
        built = [build(folder, page) for _ in range(arguments.runs)]
        whole = [command(home) for _ in range(arguments.runs)]
        size = page.stat().st_size
        print(f"| report of {arguments.requests} requests | measured | wanted |")
        print("|---|---|---|")
        print(f"| built, from the run's folder | {shown([wall for wall, _ in built])} | ≤ 2 s |")
        print(f"| CPU time of that | {shown([work for _, work in built])} | |")
        print(f"| `drillctl report` as a whole | {shown(whole)} | |")
        print(f"| size of the file | {size / 1e6:.2f} MB | ≤ 2 MB |")
        print(f"| first paint in Chromium | {shown(paints(page, arguments.runs))} | ≤ 1 s |")


if __name__ == "__main__":
    main()
