"""The undo of a switch at HAProxy: a real one, its socket spoken to by the guard's own program."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from drillctl.lab.ground import program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Guard, Zone

HAPROXY = program("haproxy")
WAS = "zone-a-1=ready zone-b-1=maint"
OURS = "zone-a-1=maint zone-b-1=ready"
SWITCH = "set server recognition/zone-b-1 state ready; set server recognition/zone-a-1 state maint"
BACK = "set server recognition/zone-a-1 state ready; set server recognition/zone-b-1 state maint"


class Haproxy:
    """An HAProxy that serves nobody: only its socket is spoken to."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "a.sock"
        config = folder / "haproxy.cfg"
        config.write_text(
            f"global\n  stats socket {self.socket} mode 600 level admin\n"
            "defaults\n  mode http\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n"
            "backend recognition\n  server zone-a-1 127.0.0.1:9\n  server zone-b-1 127.0.0.1:10 disabled\n"
            "backend other\n  server zone-a-1 127.0.0.1:9 disabled\n"
        )
        words = [str(HAPROXY), "-db", "-f", str(config)]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 15
        while "zone-a-1" not in self.ask("show servers state"):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
            client.settimeout(5)
            client.connect(str(self.socket))
            client.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: client.recv(65536), b"")).decode()
        return ""

    @property
    def bits(self) -> list[int]:
        """The admin states of the two servers: 1 is maintenance by command, 4 was `disabled` in the config."""
        lines = self.ask("show servers state recognition").splitlines()
        return [int(line.split()[6]) for line in lines if " recognition " in line]

    @property
    def on_standby(self) -> bool:
        a, b = self.bits
        return a & 1 == 1 and b & 1 == 0


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[Haproxy]:
    if HAPROXY is None:
        pytest.skip("haproxy is not installed")
    made = Haproxy(tmp_path)
    made.ask(SWITCH)
    assert made.on_standby
    yield made
    made.process.send_signal(signal.SIGTERM)
    made.process.wait()


def register(guard: Guard, haproxy: Haproxy, url: str, *, kept: bytes | None = None) -> Path:
    """Register the undo of a switch, let the lease run out, and return the path of the state file."""
    file = guard.top / "server state"
    file.write_bytes(b"the drill's\n")
    digest, mode, owner = "-", "-", "-"
    if kept is not None:
        digest, mode, owner = hashlib.sha256(kept).hexdigest(), "640", f"{os.getuid()}:{os.getgid()}"
    guard.acquire()
    words = (str(haproxy.socket), digest, "recognition", WAS, OURS, BACK, str(file), mode, owner, url)
    guard.say("register", "1", "gateway.restore", "gateway.haproxy", *words, stdin=kept or b"")
    guard.kill_watch()
    guard.expire()
    return file


def test_the_servers_are_set_as_they_were(guard: Guard, haproxy: Haproxy, zone: Zone) -> None:
    file = register(guard, haproxy, zone.url)
    guard.say("tick")
    assert not haproxy.on_standby
    assert haproxy.bits == [0, 5]
    assert not file.exists()
    assert guard.files() == {"epoch"}


def test_the_state_file_comes_back_byte_for_byte(any_guard: Guard, haproxy: Haproxy, zone: Zone) -> None:
    file = register(any_guard, haproxy, zone.url, kept=b"1\n# \xff as it was\n")
    any_guard.say("tick")
    assert file.read_bytes() == b"1\n# \xff as it was\n"
    assert file.stat().st_mode & 0o777 == 0o640


def test_the_standby_serves_until_the_primary_answers(guard: Guard, haproxy: Haproxy, zone: Zone) -> None:
    zone.status = 503
    file = register(guard, haproxy, zone.url)
    guard.say("tick")
    assert haproxy.on_standby
    assert file.read_bytes() == b"the drill's\n"
    assert any("does not answer 200" in line for line in guard.show().log)
    zone.status = 200
    guard.say("tick")
    assert not haproxy.on_standby
    assert guard.show().state == "free"


def test_servers_that_someone_else_set_are_left_alone(guard: Guard, haproxy: Haproxy, zone: Zone) -> None:
    haproxy.ask("set server recognition/zone-a-1 state drain")
    before = haproxy.bits
    register(guard, haproxy, zone.url)
    guard.say("tick")
    assert haproxy.bits == before
    assert any("someone else changed" in line for line in guard.show().log)


def test_a_haproxy_that_does_not_answer_is_asked_again(any_guard: Guard, haproxy: Haproxy, zone: Zone) -> None:
    register(any_guard, haproxy, zone.url)
    haproxy.process.send_signal(signal.SIGSTOP)
    moved = haproxy.socket.with_name("moved.sock")
    haproxy.socket.rename(moved)
    any_guard.say("tick")
    assert any("does not answer" in line for line in any_guard.show().log)
    moved.rename(haproxy.socket)
    haproxy.process.send_signal(signal.SIGCONT)
    any_guard.say("tick")
    assert not haproxy.on_standby


@pytest.mark.parametrize("tool", ["socat", "perl", "python3", "nc"])
def test_the_socket_is_spoken_to_by_whatever_program_there_is(
    any_guard: Guard, haproxy: Haproxy, zone: Zone, tool: str
) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"there is no {tool} here")
    any_guard.without = tuple(name for name in ("socat", "perl", "python3") if name != tool)
    any_guard.install()
    register(any_guard, haproxy, zone.url)
    any_guard.say("tick")
    assert not haproxy.on_standby
