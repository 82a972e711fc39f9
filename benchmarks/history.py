"""Measure the history at its size: 10,000 runs and 10 million samples, each command as a whole, imports included.

    python -m benchmarks.history [--runs N] [--samples N] [--repeat N] [--postgresql]

SQLite in a temporary folder; with --postgresql also a server of the distribution that is started for it. The samples
are written past the store, which takes each batch to the disk, so that this takes a minute.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOSTS = 20
EVERY = timedelta(seconds=30)
TRIES = {
    "history": ["history"],
    "history --json": ["history", "--json"],
    "history --verdict failed": ["history", "--verdict", "failed"],
    "history trend": ["history", "trend"],
    "history trend, all runs": ["history", "trend", "--last", "100000"],
    "history trend --html": ["history", "trend", "--html", "{folder}/trend.html"],
    "history show last": ["history", "show", "last"],
}


def main() -> None:
    """Fill a database, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=10_000_000)
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--postgresql", action="store_true")
    wanted = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="drillctl-bench-history-"))
    os.environ["DRILLCTL_HOME"] = str(folder)
    os.environ.pop("DRILLCTL_HISTORY_URL", None)
    try:
        _measure(wanted, folder, _fill_sqlite)
        if wanted.postgresql:
            sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
            from postgresql import Server

            with Server() as server:
                os.environ["DRILLCTL_HISTORY_URL"] = server.database()
                _measure(wanted, folder, _fill_postgresql)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(wanted: argparse.Namespace, folder: Path, fill: Callable[[int], None]) -> None:
    from drillctl.history.store import History

    # Without compiled modules each command would compile SQLAlchemy anew; an installed tool does not.
    subprocess.run([sys.executable, "-m", "compileall", "-q", *_packages()], check=False)
    began = time.monotonic()
    with History.open() as history:
        shown = history.address.shown if history.address.path is None else "SQLite"
        for report in _reports(wanted.runs):
            history.add_run(report)
    fill(wanted.samples)
    took = time.monotonic() - began
    load = "{:.1f}, {:.1f}, {:.1f}".format(*os.getloadavg())
    size = folder.joinpath("history.db").stat().st_size / 1e6 if shown == "SQLite" else None
    print(f"\n{wanted.runs:,} runs and {wanted.samples:,} samples in {shown.split('@')[0].split(':')[0]}", end="")
    print(f" ({size:,.0f} MB)" if size else "", f", written in {took:.0f} s", sep="")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, load average {load}")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for name, arguments in TRIES.items():
        command = [str(Path(sys.executable).with_name("drillctl")), *(a.format(folder=folder) for a in arguments)]
        times, work = [], []
        for _ in range(wanted.repeat + 1):
            begin, used = time.monotonic(), _processor()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
            times.append(time.monotonic() - begin)
            work.append(_processor() - used)
        _print(f"drillctl {name}", times[1:], f", {statistics.median(work[1:]):.3f} s of a processor")
    _within(wanted.repeat)


def _within(repeat: int) -> None:
    """Measure what the patrol and the gates do, within a process that has the history open."""
    from drillctl.history.store import History

    with History.open() as history:
        now = datetime.now(UTC)
        last = list(history.last_samples().values())
        tries: dict[str, Callable[[], object]] = {
            "last sample of every host": history.last_samples,
            "a day of one host's samples": lambda: history.samples(
                last[0].inventory, last[0].host, now - timedelta(days=1), now
            ),
            "last drill": lambda: history.last_drill("recognition"),
        }
        for name, what in tries.items():
            _print(name, [_timed(what) for _ in range(repeat)])
        from dataclasses import replace

        rounds = [[replace(sample, at=now + number * EVERY) for sample in last] for number in range(1, repeat + 1)]
        _print(f"add the samples of {len(last)} hosts", [_timed(lambda r=r: history.add_samples(r)) for r in rounds])  # type: ignore[misc]
        begin = time.monotonic()
        gone = history.prune(samples_before=now - timedelta(days=150)).samples
        print(f"  {'prune':34} {gone:,} samples deleted in {time.monotonic() - begin:.1f} s")


def _timed(what: Callable[[], object]) -> float:
    begin = time.monotonic()
    what()
    return time.monotonic() - begin


def _processor() -> float:
    """Return the processor time of all commands so far, which other work on the machine hardly changes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _print(name: str, times: list[float], more: str = "") -> None:
    print(
        f"  {name:34} {statistics.median(times):.3f} s ({min(times):.3f} to {max(times):.3f}, n = {len(times)}){more}"
    )


def _packages() -> list[str]:
    import importlib.util

    names = ("alembic", "drillctl", "jinja2", "psycopg", "pydantic", "rich", "sqlalchemy", "svg", "typer")
    found = (importlib.util.find_spec(name) for name in names)
    return [place for spec in found if spec for place in spec.submodule_search_locations or ()]


def _reports(count: int) -> Iterator[dict[str, object]]:
    """Yield reports of one drill an hour until now, a tenth of them not passed."""
    import random

    random.seed(6)
    now = datetime.now(UTC)
    for number in range(count):
        at = now - timedelta(hours=count - number)
        verdict = random.choices(["passed", "failed", "aborted", "not-started"], [90, 6, 2, 2])[0]
        recovery = {"outage_seconds": random.gauss(0.22, 0.03), "detection_seconds": 0.1, "lost_requests": 11}
        yield {
            "run_id": f"{at:%Y%m%dT%H%M%SZ}-zone-failover-{number:04x}",
            "inventory": "recognition",
            "environment": "staging",
            "playbook": "zone-failover",
            "verdict": verdict,
            "exit_code": 0,
            "started_at": at.isoformat(),
            "finished_at": (at + timedelta(seconds=22)).isoformat(),
            "seconds": 22.0,
            "recovery": {"rto_seconds": 0.5, **(recovery if verdict in {"passed", "failed"} else {})},
            "traffic": {"sent": 900, "wrong": 0, "p50_seconds": 0.03, "p99_seconds": 0.09},
            "restore": {"verdict": "nothing to restore" if verdict == "not-started" else "complete", "seconds": 7.0},
            "objectives": [],
            # About as long as the report of a real drill.
            "steps": [{"name": "step", "host": f"host-{n}", "detail": random.randbytes(60).hex()} for n in range(60)],
        }


def _fill_sqlite(count: int) -> None:
    from drillctl.history.store import History

    first, step, hosts = _begin(count)
    with History.open() as history:
        path = history.address.path
    assert path is not None
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for host in hosts:
            connection.executemany(
                "INSERT INTO drillctl_sample (host_id, at, state_id, latency_seconds) VALUES (?, ?, 1, ?)",
                ((host, first + number * step, 0.02 + number % 7 / 1000) for number in range(count // HOSTS)),
            )


def _fill_postgresql(count: int) -> None:
    import psycopg

    first, step, hosts = _begin(count)
    with psycopg.connect(os.environ["DRILLCTL_HISTORY_URL"]) as connection, connection.cursor() as cursor:
        with cursor.copy("COPY drillctl_sample (host_id, at, state_id, latency_seconds) FROM STDIN") as copy:
            for host in hosts:
                for begin in range(0, count // HOSTS, 10_000):
                    lines = io.StringIO()
                    for number in range(begin, min(begin + 10_000, count // HOSTS)):
                        lines.write(f"{host}\t{first + number * step}\t1\t{0.02 + number % 7 / 1000}\n")
                    copy.write(lines.getvalue())
        connection.commit()
        connection.autocommit = True
        cursor.execute("ANALYZE")


def _begin(count: int) -> tuple[int, int, list[int]]:
    """Store one sample of each host through the store; return the first time, the step and the ids of the hosts."""
    from drillctl.history.sample import Sample
    from drillctl.history.store import History

    now = datetime.now(UTC)
    with History.open() as history:
        history.add_samples(
            [
                Sample(now, "recognition", f"rec-{n:02}", "primary", "healthy", ready=True, zone="hangzhou-h")
                for n in range(HOSTS)
            ]
        )
    first = now - (count // HOSTS + 1) * EVERY
    step = int(EVERY.total_seconds() * 1e6)
    return int(first.timestamp() * 1e6), step, list(range(1, HOSTS + 1))


if __name__ == "__main__":
    main()
