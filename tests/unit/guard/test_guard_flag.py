"""The undo of a flag: the guard takes away what the drill set, if the primary answers and nobody else was at it."""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Guard, Zone

OURS = b"the standby serves: drillctl, run run-1\n"
THEIRS = b"Ana, maintenance until noon \xff\n"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def flag_of(guard: Guard, content: bytes | None) -> Path:
    path = guard.top / "var lib" / "a.standby"
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content)
    return path


def register(guard: Guard, path: Path, url: str, *, was: bytes | None = None, ours: str = sha(OURS)) -> None:
    """Register the undo of a flag that was absent, or held other bytes."""
    guard.acquire()
    rights = ("-", "-", "-") if was is None else (sha(was), "640", f"{os.getuid()}:{os.getgid()}")
    guard.say("register", "1", "gateway.restore", "gateway.flag", str(path), *rights, ours, url, stdin=was or b"")
    guard.kill_watch()
    guard.expire()


def test_the_drills_flag_is_taken_away(guard: Guard, zone: Zone) -> None:
    path = flag_of(guard, OURS)
    register(guard, path, zone.url)
    guard.say("tick")
    assert list(path.parent.iterdir()) == []
    assert guard.files() == {"epoch"}


def test_the_flag_stays_until_the_primary_answers(guard: Guard, zone: Zone) -> None:
    path = flag_of(guard, OURS)
    zone.status = 503
    register(guard, path, zone.url)
    for _ in range(2):
        guard.say("tick")
    assert path.read_bytes() == OURS
    assert any("does not answer 200" in line for line in guard.show().log)
    zone.status = 200
    guard.say("tick")
    assert not path.exists()
    assert guard.show().state == "free"


@pytest.mark.parametrize("theirs", [THEIRS, b""])
def test_a_flag_that_someone_else_set_is_left_alone(guard: Guard, zone: Zone, theirs: bytes) -> None:
    path = flag_of(guard, theirs)
    register(guard, path, zone.url)
    guard.say("tick")
    assert path.read_bytes() == theirs
    assert any("someone else changed" in line for line in guard.show().log)


def test_a_flag_that_is_gone_already_is_fine_and_asks_nobody(guard: Guard, zone: Zone) -> None:
    zone.status = 503
    register(guard, flag_of(guard, None), zone.url)
    guard.say("tick")
    assert guard.show().state == "free"
    assert zone.asked == 0


def test_a_flag_that_the_drill_took_away_comes_back_with_its_bytes_and_mode(guard: Guard, zone: Zone) -> None:
    path = flag_of(guard, None)
    register(guard, path, zone.url, was=THEIRS, ours="absent")
    guard.say("tick")
    assert path.read_bytes() == THEIRS
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(path.parent.iterdir()) == [path]


def test_a_flag_whose_bytes_do_not_arrive_is_not_registered(any_guard: Guard, zone: Zone) -> None:
    path = flag_of(any_guard, None)
    any_guard.acquire()
    words = (str(path), sha(THEIRS), "640", "0:0", "absent", zone.url)
    refused = any_guard.start("register", "1", "gateway.restore", "gateway.flag", *words, stdin=THEIRS[:5])
    assert refused.returncode == 74


def test_the_watch_takes_the_flag_away_by_itself(any_guard: Guard, zone: Zone) -> None:
    path = flag_of(any_guard, OURS)
    any_guard.acquire(ttl=1)
    any_guard.say("register", "1", "gateway.restore", "gateway.flag", str(path), "-", "-", "-", sha(OURS), zone.url)
    deadline = time.monotonic() + 20
    while path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
