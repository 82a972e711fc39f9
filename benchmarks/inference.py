"""``python -m benchmarks.inference``: the server beside an in-process loop, LitServe and the runbook's Flask server.

All have the same model, images and cores; the load generator is a process of its own, which shares these cores or, with
``--apart``, keeps one for itself. Contenders that batch are tried with several batch sizes, and the best one counts.
Each figure is measured in several rounds, in turn, so that whatever else the machine does hits all alike: medians with
the lowest and highest. Whoever is not being measured is frozen.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final, Protocol

from benchmarks.load import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

REPOSITORY: Final = Path(__file__).resolve().parents[1]
START_SECONDS: Final = 180
CONNECTIONS: Final = 32
SHARE_OF_SATURATION: Final = 0.7


@dataclass(frozen=True)
class Cores:
    """Which cores compute, and which send."""

    serving: tuple[int, ...]
    sending: tuple[int, ...]

    @classmethod
    def of_this_process(cls, *, apart: bool) -> Cores:
        cores = tuple(sorted(os.sched_getaffinity(0)))
        return cls(cores[:-1], cores[-1:]) if apart and len(cores) > 1 else cls(cores, cores)


@dataclass(frozen=True)
class Setting:
    """The model, the images and how long to measure."""

    model: Path
    images: tuple[Path, ...]
    cores: Cores
    seconds: float
    rounds: int


class Contender(Protocol):
    """Something whose images per second can be measured."""

    def saturation(self) -> float: ...


@contextmanager
def awake(process: subprocess.Popen[str]) -> Iterator[None]:
    """Let a contender run; all its processes are frozen otherwise, because some poll while they have nothing to do."""
    os.killpg(process.pid, signal.SIGCONT)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGSTOP)


@dataclass
class Loop:
    """The in-process loop, waiting for orders."""

    setting: Setting
    process: subprocess.Popen[str]

    def measure(self) -> tuple[float, list[float]]:
        """Images per second on all cores, and the seconds of each batch."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with awake(self.process):
            self.process.stdin.write(f"{self.setting.seconds} {' '.join(map(str, self.setting.images))}\n")
            self.process.stdin.flush()
            answer = json.loads(self.process.stdout.readline())
        return answer["rate"], answer["latencies"]

    def saturation(self) -> float:
        return self.measure()[0]


@dataclass
class Served:
    """A server that is ready."""

    setting: Setting
    process: subprocess.Popen[str]
    url: str
    connections: int

    def load(self, *, connections: int | None = None, rate: float | None = None) -> Outcome:
        command = [*_pinned(self.setting.cores.sending), "-m", "benchmarks.load", f"{self.url}/predict"]
        command += [*map(str, self.setting.images), "--connections", str(connections or self.connections)]
        command += ["--seconds", str(self.setting.seconds), *(["--rate", f"{rate:.3f}"] if rate else [])]
        with awake(self.process):
            done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
        outcome = Outcome(**json.loads(done.stdout))
        if not outcome.latencies:
            raise RuntimeError(f"{self.url} gave no good answer: {outcome.statuses}.")
        return outcome

    def saturation(self) -> float:
        return self.load().rate


@contextmanager
def running(setting: Setting, *command: str, **variables: str) -> Iterator[Contender]:
    """Start a contender on the serving cores; it is ready when this yields it, and gone afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "MODEL_PATH": str(setting.model), "PORT": str(port), "LOG_LEVEL": "warning"}
    process = subprocess.Popen(
        [*_pinned(setting.cores.serving), "-m", *command],
        cwd=REPOSITORY,
        env={**environment, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if command[-1] == "loop" else subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        if command[-1] == "loop":
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("The in-process loop did not start.")
            os.killpg(process.pid, signal.SIGSTOP)
            yield Loop(setting, process)
        else:
            url = f"http://127.0.0.1:{port}"
            _wait_ready(url, process)
            os.killpg(process.pid, signal.SIGSTOP)
            # The development server answers one connection after the other: more than one would only wait.
            yield Served(setting, process, url, 1 if command[-1] == "flask" else CONNECTIONS)
    finally:
        # LitServe has processes of its own: the whole session goes.
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, number)
                os.killpg(process.pid, signal.SIGCONT)
                process.wait(20)
        process.wait()


def _wait_ready(url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    raise RuntimeError(f"{process.args!r} was not ready within {START_SECONDS} s.")


def _pinned(cores: Sequence[int]) -> list[str]:
    return ["taskset", "-c", ",".join(map(str, cores)), sys.executable]


@dataclass(frozen=True)
class Figure:
    """Measurements of one thing in several rounds."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    def show(self, unit: str, scale: float = 1.0, digits: int = 1) -> str:
        low, high = min(self.values) * scale, max(self.values) * scale
        return f"{self.median * scale:.{digits}f} {unit} ({low:.{digits}f} to {high:.{digits}f})"


class Comparison:
    """All contenders, measured in turn."""

    def __init__(self, setting: Setting, batch_sizes: Sequence[int]) -> None:
        self._setting = setting
        self._sizes = batch_sizes
        self.lines: list[tuple[str, str, str, str]] = []

    def run(self) -> None:
        with ExitStack() as stack:

            def start(*command: str, size: int) -> Contender:
                _say(f"starting {command[-1]}, batch size {size}")
                return stack.enter_context(running(self._setting, *command, BATCH_SIZE=str(size)))

            def best(*command: str) -> tuple[int, Contender]:
                tried = {size: start(*command, size=size) for size in self._sizes}
                rates = {size: tried[size].saturation() for size in self._sizes}
                _say("  " + ", ".join(f"batch size {size}: {rate:.1f} images/s" for size, rate in rates.items()))
                chosen = max(rates, key=rates.__getitem__)
                return chosen, tried[chosen]

            contenders = {
                "loop": best("benchmarks.contenders", "loop"),
                "server": best("inference", "serve"),
                "litserve": best("benchmarks.litserve_contender"),
                "flask": (1, start("benchmarks.contenders", "flask", size=1)),
            }
            names = {name: f"{name}, batch size {size}" for name, (size, _) in contenders.items()}
            rates = self._rounds({name: contender.saturation for name, (_, contender) in contenders.items()})
            for name, figure in rates.items():
                self._add(f"images/s at saturation: {names[name]}", figure.show("/s"), "", "")
            ours = rates["server"]
            for other, target in (("loop", 0.90), ("litserve", 1.2), ("flask", 2.0)):
                self._add_ratio(f"images/s, server ÷ {other}", ours, rates[other], at_least=target)
            self._single(start)
            self._tail(contenders, {name: figure.median for name, figure in rates.items()})

    def _single(self, start: Callable[..., Contender]) -> None:
        loop = start("benchmarks.contenders", "loop", size=1)
        server = start("inference", "serve", size=1)
        assert isinstance(loop, Loop)
        assert isinstance(server, Served)
        latencies = self._rounds(
            {
                "call": lambda: median(loop.measure()[1]),
                "request": lambda: server.load(connections=1).percentile(0.5),
            }
        )
        self._add("median latency in-process, batch size 1", latencies["call"].show("ms", 1e3, 2), "", "")
        self._add("median latency of one request at a time", latencies["request"].show("ms", 1e3, 2), "", "")
        self._add_ratio("latency, request ÷ in-process", latencies["request"], latencies["call"], at_most=1.2)

    def _tail(self, contenders: dict[str, tuple[int, Contender]], rates: dict[str, float]) -> None:
        def p99(name: str) -> Callable[[], float]:
            served = contenders[name][1]
            assert isinstance(served, Served)
            return lambda: served.load(rate=SHARE_OF_SATURATION * rates[name]).percentile(0.99)

        tails = self._rounds({name: p99(name) for name in ("server", "litserve")})
        for name, figure in tails.items():
            rate = SHARE_OF_SATURATION * rates[name]
            self._add(f"p99 at 70 % of its saturation ({rate:.0f}/s): {name}", figure.show("ms", 1e3), "", "")

    def _rounds(self, measures: dict[str, Callable[[], float]]) -> dict[str, Figure]:
        values: dict[str, list[float]] = {name: [] for name in measures}
        for number in range(self._setting.rounds):
            for name, measure in measures.items():
                values[name].append(measure())
                _say(f"round {number + 1}: {name}: {values[name][-1]:.4g}")
        return {name: Figure(tuple(measured)) for name, measured in values.items()}

    def _add(self, what: str, measured: str, target: str, verdict: str) -> None:
        self.lines.append((what, measured, target, verdict))

    def _add_ratio(
        self, what: str, one: Figure, other: Figure, *, at_least: float | None = None, at_most: float | None = None
    ) -> None:
        # Round by round: both were measured one after the other, under the same circumstances.
        ratio = Figure(tuple(a / b for a, b in zip(one.values, other.values, strict=True)))
        reached = ratio.median >= at_least if at_least is not None else ratio.median <= (at_most or 0.0)
        target = f"≥ {at_least}" if at_least is not None else f"≤ {at_most}"
        self._add(what, ratio.show("", digits=2), target, "reached" if reached else "missed")


def machine() -> str:
    """Say what this machine is: processor, cores, GPU, load, date."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    load = os.getloadavg()[0]
    names_of = ("torch", "pillow", "litserve", "flask")
    versions = ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in names_of)])
    return (
        f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load average {load:.1f}; {versions}"
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the inference server beside others; prints one table.")
    parser.add_argument("--model", type=Path, default=REPOSITORY / "inference" / "sample")
    parser.add_argument("--images", type=Path, default=REPOSITORY / "playbooks" / "images", help="folder with JPEGs")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--apart", action="store_true", help="keep one core for the load generator alone")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    # So that what was started is ended, however this ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    images = tuple(sorted(given.images.resolve().glob("*.jpg")))
    cores = Cores.of_this_process(apart=given.apart)
    setting = Setting(given.model.resolve(), images, cores, given.seconds, given.rounds)
    before = machine()
    comparison = Comparison(setting, given.batch_sizes)
    comparison.run()
    size = sum(path.stat().st_size for path in images) / len(images) / 1024
    print(f"\n{before}\nmodel {setting.model.name}, {len(images)} JPEG images of {size:.0f} KiB on average,", end=" ")
    print(
        f"{len(cores.serving)} of {os.cpu_count()} cores serving, {setting.rounds} rounds of {setting.seconds:.0f} s\n"
    )
    print("| figure | median (lowest to highest) | target | |\n|---|---|---|---|")
    for line in comparison.lines:
        print(f"| {' | '.join(line)} |")


if __name__ == "__main__":
    main()
