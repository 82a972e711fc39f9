"""Faults of processes, by their real scripts on this machine: what they do, what proves it, and what does not."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drillctl import inventory as inventories
from drillctl.errors import Inconclusive
from drillctl.faults.fault import Place
from drillctl.faults.hang import Hang
from drillctl.faults.slow import Slow
from drillctl.hosts.fleet import Fleet
from drillctl.hosts.local import LocalTransport
from drillctl.hosts.service import manager_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = """
import socket, time
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
time.sleep(600)
"""


@pytest.fixture
def place(tmp_path: Path, process_text: str) -> Iterator[Place]:
    """A service of this machine that listens, as a process in a session of its own."""
    process = subprocess.Popen(["python3", "-c", SERVER], start_new_session=True, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    born = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()[19]
    pidfile = tmp_path / "service.pid"
    pidfile.write_text(f"{process.pid} {born}\n")
    file = tmp_path / "inventory.yaml"
    file.write_text(process_text.replace("/run/inference.pid", str(pidfile)).replace("port: 8000", f"port: {port}"))
    estate = inventories.load(file)
    host = estate.zone("primary").hosts[0]
    fleet = Fleet(estate, {host.name: LocalTransport(host.name)})
    yield Place(f"run-{os.getpid()}", estate, host, fleet, manager_of(estate, host, fleet[host]))
    for token in Path("/tmp").glob(f".drillctl-slow-run-{os.getpid()}*"):
        token.unlink()
    os.killpg(process.pid, signal.SIGKILL)
    process.stdout.close()
    process.wait()


def pid_of(place: Place) -> int:
    start = place.inventory.service.start
    return int(Path(start.pidfile).read_text().split()[0])


def state(place: Place) -> str:
    return Path(f"/proc/{pid_of(place)}/stat").read_text().rpartition(") ")[2].split()[0]


def test_a_hang_stops_every_process_and_the_port_still_accepts(place: Place) -> None:
    fault = Hang(step="fault", fault="hang")
    evidence = fault.prove(place, fault.inject(place))
    assert evidence == f"SIGSTOP to pid {pid_of(place)}: all stopped, port {place.port} still accepts"
    assert state(place) == "T"
    fault.still(place)
    os.kill(pid_of(place), signal.SIGCONT)
    with pytest.raises(Inconclusive, match="did not last"):
        fault.still(place)


@pytest.mark.parametrize(("said", "why"), [
    ("pids= states= listens=0", "hit nothing"),
    ("pids=41 42 states=TS listens=1", "state TS"),
    ("pids=41 states=T listens=0", "nothing listens"),
    ("", "hit nothing"),
])  # fmt: skip
def test_what_is_no_hang_is_not_taken_for_one(place: Place, said: str, why: str) -> None:
    with pytest.raises(Inconclusive, match=why):
        Hang(step="fault", fault="hang").prove(place, said)


def test_a_slow_service_runs_for_its_share_and_is_let_go_when_the_token_goes(place: Place) -> None:
    fault = Slow(step="fault", fault="slow", share=0.1)
    (undo,) = fault.undos(place)
    token = Path(undo.arguments["token"])
    evidence = fault.prove(place, fault.inject(place))
    assert "it runs 10% of the time" in evidence
    stopped = 0
    for _ in range(50):
        stopped += state(place) == "T"
        time.sleep(0.01)
    assert stopped > 25
    token.unlink()
    deadline = time.monotonic() + 5
    quiet = 0
    while quiet < 30:
        assert time.monotonic() < deadline
        quiet = 0 if state(place) == "T" else quiet + 1
        time.sleep(0.01)


def test_a_slowness_that_was_never_seen_is_not_proven(place: Place) -> None:
    with pytest.raises(Inconclusive, match="not proven"):
        Slow(step="fault", fault="slow").prove(place, "pids=41 stopped=0 ran=60")
