"""All hosts at once: every error is named, none stays connected when one fails, and none waits for another."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from drillctl.errors import CommandFailed, FileError, HostError, HostKeyRefused, Unreachable
from drillctl.hosts import fleet
from drillctl.hosts.fleet import Fleet, connect, connect_all, each, joined
from drillctl.hosts.scripted import ScriptedTransport
from drillctl.inventory import Host, Inventory

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Sshd

HOSTS = [Host(name=f"h{number}", address=f"10.0.0.{number}") for number in range(5)]


def test_results_come_back_by_host() -> None:
    assert each(HOSTS, lambda host: host.address) == {host.name: host.address for host in HOSTS}
    assert each([], lambda host: host.address) == {}


def test_hosts_are_worked_on_side_by_side() -> None:
    meeting = threading.Barrier(len(HOSTS), timeout=5)
    each(HOSTS, lambda host: meeting.wait())


def test_every_error_is_named_and_the_others_are_finished() -> None:
    finished: list[str] = []

    def work(host: Host) -> None:
        if host.name in {"h1", "h3"}:
            raise Unreachable(f"no answer from {host.address}", host=host.name, hint="look at it", state="unknown")
        time.sleep(0.05)
        finished.append(host.name)

    with pytest.raises(Unreachable) as caught:
        each(HOSTS, work)
    assert str(caught.value) == "h1: no answer from 10.0.0.1; h3: no answer from 10.0.0.3"
    assert (caught.value.hint, caught.value.state) == ("look at it", "unknown")
    assert sorted(finished) == ["h0", "h2", "h4"]


def test_one_error_stays_what_it_is() -> None:
    only = CommandFailed("`true` failed", host="h1")
    assert joined([only]) is only


def test_errors_of_the_file_and_of_hosts_are_told_together() -> None:
    both = joined([FileError(["id: the SSH key is not there"]), Unreachable("no answer", host="h2")])
    assert isinstance(both, HostError)
    assert "the SSH key is not there" in str(both)
    assert "h2: no answer" in str(both)


def test_a_bug_is_not_dressed_up_as_an_error_of_a_host() -> None:
    def work(host: Host) -> None:
        if host.name == "h1":
            raise Unreachable("no answer", host=host.name)
        if host.name == "h3":
            raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        each(HOSTS, work)


def estate_on(sshd: Sshd, inventory: Inventory, *, broken: dict[str, dict[str, object]]) -> Inventory:
    """Return the inventory with every host at one sshd; `broken` hosts have other options."""

    def at(host: Host) -> Host:
        options = sshd.options(**broken.get(host.name, {}))
        return host.model_copy(update={"address": "127.0.0.1", "ssh": options})

    zones = tuple(zone.model_copy(update={"hosts": tuple(map(at, zone.hosts))}) for zone in inventory.zones)
    gateway = inventory.gateway.model_copy(update={"hosts": tuple(map(at, inventory.gateway.hosts))})
    return inventory.model_copy(update={"zones": zones, "gateway": gateway})


def test_all_hosts_are_logged_in_to_and_closed_together(sshd: Sshd, estate: Inventory) -> None:
    with connect(estate_on(sshd, estate, broken={})) as everybody:
        assert set(everybody.transports) == {"gateway", "a-1", "b-1"}
        assert everybody["a-1"].run(["echo", "hello"]).text == "hello"
        assert everybody[estate.zone("standby").hosts[0]].host == "b-1"
    assert not any(transport.alive(1) for transport in everybody.transports.values())


def test_when_hosts_cannot_be_reached_all_of_them_are_named_and_nobody_stays_connected(
    sshd: Sshd, estate: Inventory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "known_hosts"
    empty.touch()
    inventory = estate_on(sshd, estate, broken={"a-1": {"port": 1}, "b-1": {"known_hosts": empty}})
    closed: list[str] = []
    close = Fleet.close

    def noted(self: Fleet) -> None:
        closed.extend(self.transports)
        close(self)

    monkeypatch.setattr(fleet.Fleet, "close", noted)
    with pytest.raises(HostError) as caught:
        connect(inventory)
    assert "a-1: 127.0.0.1:1 cannot be reached by SSH" in str(caught.value)
    assert "b-1: the host key of" in str(caught.value)
    assert closed == ["gateway"]


def test_status_gets_those_that_answer_and_the_errors_of_the_others(
    sshd: Sshd, estate: Inventory, tmp_path: Path
) -> None:
    empty = tmp_path / "known_hosts"
    empty.touch()
    everybody, errors = connect_all(estate_on(sshd, estate, broken={"b-1": {"known_hosts": empty}}))
    with everybody:
        assert set(everybody.transports) == {"gateway", "a-1"}
        assert {name: type(error) for name, error in errors.items()} == {"b-1": HostKeyRefused}


class Restarting(ScriptedTransport):
    """A host whose sshd refuses logins for a moment."""

    refusals = 2

    def reconnect(self) -> None:
        self.refusals -= 1
        if self.refusals >= 0:
            raise Unreachable("connection refused", host=self.host)


def test_a_login_that_is_refused_at_once_is_tried_again(estate: Inventory) -> None:
    everybody = Fleet(estate, {"a-1": Restarting("a-1", {}), "b-1": Restarting("b-1", {})})
    everybody.transports["b-1"].refusals = 10_000  # type: ignore[attr-defined]
    everybody.lost = {"a-1", "b-1"}
    assert everybody.reconnect(["a-1", "b-1"], 3.0) == {"a-1": True, "b-1": False}
    assert everybody.lost == {"b-1"}
