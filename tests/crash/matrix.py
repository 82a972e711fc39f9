"""make crash-matrix: disturb drills at every point there is, and see that service comes back and nothing is left.

    python -m tests.crash.matrix [--seconds N] [--results FILE] [POINT...]

Each point is a drill of its own in one lab, one after the other: drillctl is killed (effects.py) or something else
happens (disturbances.py); a client outside sees how long there is no service; nobody does anything until there is
service again; then, in turns, `drillctl recover` with the journal, `recover` as from another machine, or nothing at
all puts the rest back, and everything on every host must be as it was before (machine.py). Exit code 1 otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tests.crash import disturbances
from tests.crash.client import served
from tests.crash.points import Point, matrix, pick
from tests.crash.row import HEAD, Row, summary
from tests.crash.scene import GRACE, TTL, Scene

LIMIT = TTL + GRACE
PATIENCE = 90.0
"""Seconds for which a client's service is waited for, longer than it may take."""

Way = Callable[[Scene, Path], str]


def reference(scene: Scene) -> str:
    """Drill once without a disturbance; keep what is seen then; return the record of what the drill did."""
    home, record = scene.new_home(), scene.folder / "record"
    done = scene.finish(scene.start_drill(home, program="tests.crash.effects", CRASH_RECORD=str(record)), home)
    if done.code != 0:
        raise RuntimeError(f"the drill that nobody disturbed ended with {done.code}: {done.err[-2000:]}")
    time.sleep(2)  # the guards' last processes and the clients' old connections end
    scene.reference = scene.pictures()
    return record.read_text()


# --- ways back ----------------------------------------------------------------------------------------------------


def with_journal(scene: Scene, home: Path) -> str:
    """Recover where the drill ran."""
    done = scene.finish(scene.start(home, "recover", "--inventory", str(scene.inventory)), home)
    if done.code != 0:
        raise RuntimeError(f"`recover` ended with {done.code}: {done.out[-500:]} {done.err[-1000:]}")
    return "recover"


def from_elsewhere(scene: Scene, _home: Path) -> str:
    """Recover from what the guards hold, without a journal."""
    done = scene.recover(None)
    if done.code != 0:
        raise RuntimeError(f"`recover` elsewhere ended with {done.code}: {done.out[-500:]} {done.err[-1000:]}")
    return "recover elsewhere"


def by_nobody(scene: Scene, _home: Path) -> str:
    """Wait until the guards have put everything back."""
    scene.wait(scene.free, 60, "the guards have put everything back and freed the leases")
    return "guards alone"


WAYS: tuple[Way, ...] = (with_journal, from_elsewhere, by_nobody)


# --- points -------------------------------------------------------------------------------------------------------


def kill(scene: Scene, point: Point, home: Path) -> tuple[float, str]:
    """Kill drillctl at a point; return when, and what happened."""
    record = home / "record"
    at = f"{point.moment} {point.effect}"
    process = scene.start_drill(home, program="tests.crash.effects", CRASH_RECORD=str(record), CRASH_AT=at)
    done = scene.finish(process, home)
    if done.code != -signal.SIGKILL:
        raise RuntimeError(f"drillctl did not come to this point, and ended with {done.code}: {done.err[-500:]}")
    last = next(line for line in reversed(record.read_text().splitlines()) if line.split(" ")[1] == "killed")
    return float(last.split(" ")[0]), "killed"


def carry_out(scene: Scene, point: Point) -> Row:
    """Carry out one point, from the steady state back to it."""
    begun, home = time.monotonic(), scene.new_home()
    wrong: list[str] = []
    at, happened, limit = begun, "", LIMIT
    try:
        if point.moment is not None:
            at, happened = kill(scene, point, home)
        else:
            came = disturbances.ALL[point.name](scene, home)
            at, happened, limit = came.at, came.words, LIMIT + came.allowed
        if not scene.client.wait_good(1.0, at, PATIENCE):
            wrong.append(f"there is no service {PATIENCE:g} s after the disturbance")
        happened += ", " + WAYS[point.number % len(WAYS)](scene, home)
    except (RuntimeError, TimeoutError, LookupError, OSError) as error:
        wrong.append(str(error))
    spans = scene.outage(begun)
    wrong += scene.differences(home)
    last = spans[-1].end if spans and spans[-1].end > at else 0.0
    loading, ready = scene.loading(spans[-1].zone, begun) if last and spans[-1].zone else (0.0, 0.0)
    return Row(
        number=point.number,
        name=point.name,
        happened=happened,
        without=sum(span.seconds for span in spans),
        back=last - at if last else 0.0,
        loading=loading if ready <= last + 0.2 else 0.0,
        limit=limit,
        wrong=wrong,
        served=served(scene.client.since(begun)),
    )


class Bench:
    """Lab after lab: a new one after a point that left something behind, so that each is judged by itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._scene: Scene | None = None
        self.record = ""

    def scene(self) -> Scene:
        """Return a lab in its steady state."""
        if self._scene is None:
            scene = Scene(Path(tempfile.mkdtemp(dir=self._folder)))
            self._scene = scene.__enter__()
            self.record = reference(scene)
        return self._scene

    def close(self) -> None:
        """Remove the lab."""
        if self._scene is not None:
            self._scene.close()
            self._scene = None


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Carry out the points that are wanted; print the table."""
    parser = argparse.ArgumentParser(description="Disturb drills at every point, and see that nothing is left.")
    parser.add_argument("points", nargs="*", help="numbers, ranges such as 20-35, or parts of names; all without")
    parser.add_argument("--list", action="store_true", help="only say which points there are")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no point after so long")
    parser.add_argument("--results", type=Path, help="append rows here, and leave out the points that are there")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began, rows, before = time.monotonic(), [], _stored(arguments.results)
    with tempfile.TemporaryDirectory(prefix="crash-matrix-") as name:
        bench = Bench(Path(name))
        try:
            bench.scene()
            points = matrix(bench.record, disturbances.ALL)
            chosen = pick(points, arguments.points)
            if arguments.list:
                say("\n".join(f"{point.number:4} {point.name}" for point in points))
                return 0
            say(f"{_machine()}, lease {TTL} s, {len(points)} points, {len(chosen)} of them wanted\n\n{HEAD}")
            done = {row.name for row in before}
            for point in chosen:
                if point.name in done:
                    continue
                if time.monotonic() - began > arguments.seconds:
                    break
                row = carry_out(bench.scene(), point)
                rows.append(row)
                say(str(row))
                if arguments.results:
                    with arguments.results.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(row)) + "\n")
                if not row.right:
                    say("\n".join(f"       {line}" for line in [*row.wrong[:12], row.served]))
                if row.wrong:
                    bench.close()
        finally:
            bench.close()
    rows = [*before, *rows]
    say("\n" + summary(rows, LIMIT))
    missing = len(chosen) - len({row.name for row in rows} & {point.name for point in chosen})
    say(f"{time.monotonic() - began:.0f} s." + (f" {missing} points are still to be done." if missing else ""))
    return 1 if missing or not all(row.right for row in rows) else 0


def _stored(path: Path | None) -> list[Row]:
    if path is None or not path.exists():
        return []
    return [Row(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _machine() -> str:
    load = os.getloadavg()[0]
    return f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Linux {platform.release()}, load {load:.1f}"


if __name__ == "__main__":
    sys.exit(main())
