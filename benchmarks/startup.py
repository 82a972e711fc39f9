"""How long a server takes to answer and to be ready, how fast weights are hashed, and how much memory it keeps.

    python -m benchmarks.startup [--runs 5] [--model PACKED_FOLDER]

Two models: the sample, and the production architecture with 54,092 classes and random weights (628 MB; made in a
temporary folder unless one is given). What they are held against is measured in the same run, on the same machine: a
process that only imports PyTorch, reading and hashing the same file, and ``sha256sum``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

REPOSITORY: Final = Path(__file__).resolve().parents[1]
SAMPLE: Final = REPOSITORY / "inference" / "sample"
WEIGHTS: Final = "model.safetensors"

_LARGE: Final = 100_000_000

# Each prints one JSON document: seconds, and resident memory in bytes afterwards.
_IMPORT: Final = """
import json, resource, time
from pathlib import Path
started = time.perf_counter()
import torch
seconds = time.perf_counter() - started
torch.set_num_threads(1)
torch.zeros(1)
resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
print(json.dumps({"seconds": seconds, "resident": resident}))
"""
_READ: Final = """
import json, sys, time
from pathlib import Path
from inference.weights import read_hashed
started = time.perf_counter()
read_hashed(Path(sys.argv[1]), lambda share: None)
print(json.dumps({"seconds": time.perf_counter() - started}))
"""


@dataclass
class Series:
    """Repeated measurements of one thing."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({min(self.values):.2f} to {max(self.values):.2f})"


@dataclass
class Start:
    """One start of a server: seconds to the first answer and to readiness, resident bytes once ready."""

    first: float
    ready: float
    resident: int


def start_server(model: Path) -> Start:
    """Start a server in a process of its own, wait until it is ready, and stop it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"MODEL_PATH": str(model), "PORT": str(port), "LOG_LEVEL": "error"}
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "inference", "serve"], env=environment, cwd=REPOSITORY)
    try:
        first = ready = 0.0
        while not ready:
            status = _status(f"http://127.0.0.1:{port}/health")
            elapsed = time.perf_counter() - started
            if status is not None and not first:
                first = elapsed
            if status == 200:
                ready = elapsed
            if process.poll() is not None:
                sys.exit(f"the server ended with exit code {process.returncode}")
            # Often enough to see the first answer; later seldom, because each answer costs the server time.
            time.sleep(0.02 if first else 0.002)
        time.sleep(0.5)
        pages = int(Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii").split()[1])
        return Start(first, ready, pages * os.sysconf("SC_PAGE_SIZE"))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def measure(model: Path, runs: int) -> list[str]:
    """Measure one packed model; return the lines of its table."""
    size = (model / WEIGHTS).stat().st_size
    (model / WEIGHTS).read_bytes()  # into the page cache: disks are not what is compared
    first, ready, resident, imported, torch_resident, read, theirs = (Series() for _ in range(7))
    for _ in range(runs):
        alone = _document(_IMPORT)
        imported.values.append(alone["seconds"])
        torch_resident.values.append(alone["resident"])
        read.values.append(_document(_READ, str(model / WEIGHTS))["seconds"])
        started = time.perf_counter()
        subprocess.run(["sha256sum", str(model / WEIGHTS)], stdout=subprocess.DEVNULL, check=True)
        theirs.values.append(time.perf_counter() - started)
        start = start_server(model)
        first.values.append(start.first)
        ready.values.append(start.ready)
        resident.values.append(start.resident)
    allowed = imported.median + read.median
    memory = torch_resident.median + size
    mebi = 1 << 20
    hashing = [
        f"| reading and hashing, MB/s | {size / read.median / 1e6:.0f} | sha256sum {size / theirs.median / 1e6:.0f} | "
        f"{theirs.median / read.median:.2f} × | ≥ 0.9 × |"
    ]
    return [
        f"| {model.name}, {size / 1e6:.1f} MB | measured | against | figure | wanted |",
        "|---|---|---|---|---|",
        f"| process start → first answer, s | {first} | | {first.median:.2f} s | ≤ 0.5 s |",
        f"| process start → ready, s | {ready} | import torch {imported} + read and hash {read} | "
        f"{ready.median / allowed:.2f} × | ≤ 1.3 × |",
        # Hashing a small file would only tell how long sha256sum takes to start.
        *(hashing if size > _LARGE else ()),
        f"| resident once ready, MiB | {resident.median / mebi:.0f} | torch {torch_resident.median / mebi:.0f} + "
        f"weights {size / mebi:.0f} | {resident.median / memory:.2f} × | ≤ 1.3 × |",
        "",
    ]


def _status(url: str) -> int | None:
    try:
        with urlopen(url, timeout=5) as reply:
            return int(reply.status)
    except HTTPError as error:
        return error.code
    except (URLError, OSError):
        return None


def _document(code: str, *arguments: str) -> dict[str, float]:
    argv = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(argv, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True)
    document: dict[str, float] = json.loads(done.stdout)
    return document


def _machine() -> str:
    models = [line for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if "model name" in line]
    name = models[0].partition(":")[2].strip() if models else platform.machine()
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} × {name}, {datetime.now(UTC):%Y-%m-%d}, load average {load:.1f} when it began"


def _made(folder: Path) -> Path:
    from benchmarks.modelscope_folder import write_modelscope_folder
    from inference.pack import pack

    print("making a model of 628 MB …", file=sys.stderr)
    write_modelscope_folder(folder / "source")
    pack(folder / "source", folder / "resnest101-54092")
    shutil.rmtree(folder / "source")
    return folder / "resnest101-54092"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure cold starts, hashing and memory.")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--model", type=Path, help="packed folder to measure beside the sample model")
    arguments = parser.parse_args()
    print(f"{_machine()}; median (lowest to highest) of {arguments.runs} runs\n")
    with tempfile.TemporaryDirectory() as temporary:
        for packed in (SAMPLE, arguments.model or _made(Path(temporary))):
            print("\n".join(measure(packed, arguments.runs)), flush=True)
