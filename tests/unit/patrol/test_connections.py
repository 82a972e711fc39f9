"""Connections between looks: kept, made anew, and not hammered; hashes only where a file changed."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from drillctl.errors import CommandFailed, HostKeyRefused, Unreachable
from drillctl.hosts.scripted import Answer, Ran, ScriptedTransport
from drillctl.patrol import connections as module
from drillctl.patrol.connections import Connections
from drillctl.patrol.model_hashes import ModelHashes

if TYPE_CHECKING:
    from drillctl.hosts.transport import Transport
    from drillctl.inventory import Host, Inventory


class Clock:
    """The monotonic clock of the module, which only the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Login:
    """Logs in to hosts in memory, except where it has been told why not."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refuse: dict[str, Exception] = {}

    def __call__(self, host: Host) -> Transport:
        self.asked.append(host.name)
        if host.name in self.refuse:
            raise self.refuse[host.name]
        return ScriptedTransport(host.name, {})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def test_a_connection_is_kept_and_not_made_at_every_look(estate: Inventory, clock: Clock) -> None:
    login = Login()
    with Connections(estate, login) as connections:
        for _ in range(3):
            fleet, troubles = connections.fleet()
            clock.now += 30
        assert sorted(login.asked) == ["a-1", "b-1", "gateway"]
        assert (sorted(fleet.transports), troubles) == (["a-1", "b-1", "gateway"], {})
        assert connections.reconnects == 0


def test_a_host_that_refuses_is_tried_ever_less_often_but_at_least_each_minute(estate: Inventory, clock: Clock) -> None:
    login = Login()
    login.refuse["a-1"] = Unreachable("10.0.1.1:22 cannot be reached by SSH (no answer in time)")
    tried: list[float] = []
    with Connections(estate, login) as connections:
        for _ in range(600):
            before = login.asked.count("a-1")
            connections.fleet()
            if login.asked.count("a-1") > before:
                tried.append(clock.now)
            clock.now += 1
    pauses = [second - first for first, second in pairwise(tried)]
    assert pauses[:6] == [2, 4, 8, 16, 32, 60]
    assert set(pauses[6:]) == {60}


def test_a_host_that_is_back_is_connected_again_and_counted(estate: Inventory, clock: Clock) -> None:
    login = Login()
    with Connections(estate, login) as connections:
        fleet, _ = connections.fleet()
        lost = fleet.transports["a-1"]
        connections.lost("a-1", "no answer in time")
        assert isinstance(lost, ScriptedTransport)
        assert lost.closed
        fleet, troubles = connections.fleet()
        assert "a-1" in fleet.transports, "a connection that was lost is made anew at the next look"
        assert troubles == {}
        assert connections.reconnects == 1


def test_a_refused_host_key_is_told_from_other_trouble(estate: Inventory, clock: Clock) -> None:
    login = Login()
    login.refuse["b-1"] = HostKeyRefused("the host key of 10.0.2.1 has CHANGED")
    with Connections(estate, login) as connections:
        _, troubles = connections.fleet()
        _, again = connections.fleet()
    assert troubles["b-1"].refused
    assert again == troubles, "it is still so between two attempts"


class Disk:
    """A model file: what `stat` and `sha256sum` say of it."""

    def __init__(self) -> None:
        self.signature = "1 2 628000000 1764000000 1764000000"
        self.sha256 = "a" * 64
        self.hashed = 0
        self.there = self.open = True
        self.transport = ScriptedTransport("a-1", self.reply)

    def reply(self, ran: Ran) -> Answer:
        if not self.there:
            return Answer(exit_code=1, stderr=f"{ran.argv[0]}: /srv/model: No such file or directory\n".encode())
        if ran.argv[0] == "stat":
            return Answer(self.signature.encode() + b"\n") if self.open else Answer(exit_code=1)
        self.hashed += 1
        return Answer(f"{self.sha256}  /srv/model\n".encode())


def test_a_file_that_did_not_change_is_hashed_once() -> None:
    disk, hashes = Disk(), ModelHashes()
    for _ in range(10):
        assert hashes.of(disk.transport, "/srv/model", wait=True) == "a" * 64
    assert disk.hashed == 1


def test_a_file_that_changed_is_hashed_again() -> None:
    disk, hashes = Disk(), ModelHashes()
    hashes.of(disk.transport, "/srv/model", wait=True)
    disk.signature, disk.sha256 = "1 2 628000000 1764000001 1764000001", "b" * 64
    assert hashes.of(disk.transport, "/srv/model", wait=True) == "b" * 64
    assert disk.hashed == 2


def test_an_hour_later_it_is_hashed_again_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from drillctl.patrol import model_hashes

    clock = Clock()
    monkeypatch.setattr(model_hashes, "time", clock)
    disk, hashes = Disk(), ModelHashes()
    for seconds in (0, 3599, 2, 3500):
        clock.now += seconds
        hashes.of(disk.transport, "/srv/model", wait=True)
    assert disk.hashed == 2


def test_a_missing_file_is_said() -> None:
    disk, hashes = Disk(), ModelHashes()
    assert hashes.of(disk.transport, "/srv/model", wait=True) == "a" * 64
    disk.there = False
    with pytest.raises(CommandFailed, match=r"hashing /srv/model ended with exit code 1: .*No such file"):
        hashes.of(disk.transport, "/srv/model", wait=True)
    disk.there = True
    assert hashes.of(disk.transport, "/srv/model", wait=True) == "a" * 64, "as soon as it is back"


def test_a_file_in_a_folder_that_only_root_may_enter_is_hashed_once_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    from drillctl.patrol import model_hashes

    clock = Clock()
    monkeypatch.setattr(model_hashes, "time", clock)
    disk, hashes = Disk(), ModelHashes()
    disk.open = False
    for seconds in (0, 30, 30, 3600):
        clock.now += seconds
        assert hashes.of(disk.transport, "/srv/model", wait=True) == "a" * 64
    assert disk.hashed == 2
