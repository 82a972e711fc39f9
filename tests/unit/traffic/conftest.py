"""A real server that misbehaves on cue, and hand-made series of probes, written as one letter per request.

    P good, by the primary `a`      S good, by the standby `b`      N good, by nobody who says so
    x 502   4 504 after 1 s         t timeout after 2 s             r refused   . no record
    L good by the standby, but sent 0.3 s late                      c this machine could not send it

A request is due every 20 ms, lanes take turns beginning with `fresh`; `|` is the fault, halfway between two of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from drillctl.traffic.probe import LANES, Probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INTERVAL = 0.02
USUAL = 0.01
START = 1000.0

_OUTCOMES: dict[str, tuple[int | None, str | None, str | None, float]] = {
    "P": (200, None, "a", USUAL),
    "S": (200, None, "b", USUAL),
    "N": (200, None, None, USUAL),
    "L": (200, None, "b", USUAL),
    "x": (502, None, None, 0.002),
    "4": (504, None, None, 1.0),
    "t": (None, "timeout", None, 2.0),
    "r": (None, "refused", None, 0.001),
    "c": (None, "client:EMFILE", None, 0.001),
}


@dataclass(frozen=True)
class Series:
    """Probes in the order in which they were due, and the time of the fault in between."""

    probes: list[Probe]
    fault_at: float

    def due(self, index: int) -> float:
        """Return when the request of an index was due."""
        return START + index * INTERVAL


def written(text: str) -> Series:
    letters = text.replace("|", "")
    fault_at = START + (text.index("|") if "|" in text else 0) * INTERVAL - INTERVAL / 2
    return Series([_probe(seq, letter) for seq, letter in enumerate(letters) if letter != "."], fault_at)


def _probe(seq: int, letter: str) -> Probe:
    status, error, zone, seconds = _OUTCOMES[letter]
    scheduled = START + seq * INTERVAL
    sent = scheduled + (0.3 if letter == "L" else 0.0)
    return Probe(
        seq=seq,
        lane=LANES[seq % 2],
        image="red-circle.jpg",
        scheduled=scheduled,
        sent=sent,
        done=sent + seconds,
        status=status,
        error=error,
        zone=zone,
        host=None,
        digest=None,
        missed=letter == "L",
    )


@pytest.fixture(scope="session")
def series() -> Callable[[str], Series]:
    return written


@pytest.fixture(scope="session")
def later() -> Callable[[Probe, float], Probe]:
    """Return a probe that ended later than it did."""
    return lambda probe, seconds: replace(probe, done=probe.done + seconds)


class Cue:
    """The cued server (see cued_server.py), as the tests drive it."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("cued_server.py")
        self._process = subprocess.Popen(
            [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.url = f"http://127.0.0.1:{self._answer()['port']}/predict"

    def __call__(self, line: str) -> float:
        """Cue the server; return the time at which it obeyed."""
        self._process.stdin.write(line + "\n")
        return self._answer()["at"]

    def report(self) -> dict[str, Any]:
        self._process.stdin.write("report\n")
        return self._answer()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def _answer(self) -> dict[str, Any]:
        return json.loads(self._process.stdout.readline())


@pytest.fixture(scope="session")
def one_server() -> Iterator[Cue]:
    server = Cue()
    yield server
    server.close()


@pytest.fixture
def cue(one_server: Cue) -> Cue:
    """The server, answering for zone `a` and having seen nothing yet."""
    one_server("forget")
    return one_server


@pytest.fixture
def image_files(tmp_path: Path) -> tuple[str, ...]:
    paths = [tmp_path / "red-circle.jpg", tmp_path / 'blue "ring".png']
    for number, path in enumerate(paths):
        path.write_bytes(bytes([0xFF, 0xD8, 13, 10, 45, 45, number]) * 3000)
    return tuple(str(path) for path in paths)
