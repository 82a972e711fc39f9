"""Several gateway hosts: they switch together, and an error says what is in place where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drillctl.errors import GatewayError, Unreachable
from drillctl.gateway.kinds import gateway_of
from drillctl.hosts.local import LocalTransport

from .conftest import NGINX, RunningNginx

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Elsewhere(LocalTransport):
    """A second gateway host on this machine: what the inventory calls `folder` lies in another place there."""

    def __init__(self, host: str, folder: Path, place: Path) -> None:
        super().__init__(host)
        self.folder, self.place = str(folder), str(place)
        self.lost_after: str | None = None

    def execute(self, command: str, stdin: bytes, timeout: float) -> tuple[int, bytes, bytes]:
        done = super().execute(command.replace(self.folder, self.place), stdin, timeout)
        if self.lost_after is not None and self.lost_after in command:
            raise Unreachable("the connection was lost while a command ran", host=self.host)
        return done


class Pair:
    """Two nginx in front of the same zones, and one gateway object for both."""

    def __init__(self, tmp_path: Path) -> None:
        (tmp_path / "one").mkdir()
        (tmp_path / "two").mkdir()
        self.one, self.two = RunningNginx(tmp_path / "one"), RunningNginx(tmp_path / "two")
        self.two.live.write_text(self.one.upstream() + self.two.server())
        hosts = [{"name": "gw-1", "address": "127.0.0.1"}, {"name": "gw-2", "address": "127.0.0.4"}]
        self.inventory = self.one.inventory(hosts=hosts)
        self.second = Elsewhere("gw-2", self.one.folder, self.two.folder)
        self.gateway = gateway_of(self.inventory, {"gw-1": LocalTransport("gw-1"), "gw-2": self.second}, "run-2")

    def answers(self) -> tuple[str | None, str | None]:
        return self.one.answer(), self.two.answer()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    if NGINX is None:
        pytest.skip("nginx is not installed")
    made = Pair(tmp_path)
    try:
        made.one.start()
        made.two.start()
        yield made
    finally:
        made.one.stop()
        made.two.stop()


def test_all_hosts_switch_and_are_restored_each_to_its_own_bytes(pair: Pair) -> None:
    original = pair.gateway.read()
    assert original.hosts[0].content != original.hosts[1].content
    assert original.configured_zone == "zone-a"
    pair.gateway.prove_applied(pair.gateway.activate(pair.gateway.stage("zone-b")), 5)
    assert pair.answers() == ("zone-b", "zone-b")
    mark = pair.gateway.access_mark()
    pair.answers()
    assert pair.gateway.served_since(mark).by_address == {pair.one.standby: 2}
    pair.gateway.prove_applied(pair.gateway.restore(original), 5)
    assert pair.answers() == ("zone-a", "zone-a")
    assert pair.gateway.read() == original


def test_hosts_that_disagree_are_configured_for_no_zone(pair: Pair) -> None:
    text = pair.two.live.read_text()
    switched = text.replace(f"server {pair.one.primary}", f"# server {pair.one.primary}", 1)
    pair.two.live.write_text(switched.replace(f"# server {pair.one.standby}", f"server {pair.one.standby}", 1))
    config = pair.gateway.read()
    assert config.configured_zone is None
    assert config.reason == "the gateway hosts disagree: gw-1 → zone-a, gw-2 → zone-b"


def test_a_candidate_that_one_host_refuses_is_left_on_none(pair: Pair) -> None:
    text = pair.two.live.read_text().replace(f"# server {pair.one.standby}", f"# server {pair.one.standby} weight=x")
    pair.two.live.write_text(text)
    with pytest.raises(GatewayError, match="gw-2: nginx does not accept the candidate"):
        pair.gateway.stage("zone-b")
    assert pair.one.leftovers() == pair.two.leftovers() == []


def test_an_activation_that_one_host_refuses_says_what_is_in_place_where(pair: Pair) -> None:
    original = pair.gateway.read()
    staged = pair.gateway.stage("zone-b")
    pair.two.live.write_bytes(pair.two.live.read_bytes() + b"# edited\n")
    with pytest.raises(GatewayError, match="gw-2: someone changed") as caught:
        pair.gateway.activate(staged)
    assert caught.value.state == "gw-2: nothing was changed; gw-1: done"
    pair.two.live.write_bytes(original.host("gw-2").content)
    pair.gateway.prove_applied(pair.gateway.restore(original), 5)
    pair.gateway.discard(staged)
    assert pair.gateway.read() == original
    assert pair.one.leftovers() == pair.two.leftovers() == []


def test_a_connection_lost_during_the_switch_leaves_the_outcome_open_and_restoring_settles_it(pair: Pair) -> None:
    original = pair.gateway.read()
    staged = pair.gateway.stage("zone-b")
    pair.second.lost_after = "mv -T"
    with pytest.raises(GatewayError, match="gw-2: the connection was lost") as caught:
        pair.gateway.activate(staged)
    assert "gw-2: unknown" in (caught.value.state or "")
    pair.second.lost_after = None
    # It had happened, only the answer was lost.
    pair.one.wait_for(lambda: pair.answers() == ("zone-b", "zone-b"))
    pair.gateway.prove_applied(pair.gateway.restore(original), 5)
    assert pair.answers() == ("zone-a", "zone-a")


def test_a_host_that_does_not_apply_it_is_named(pair: Pair) -> None:
    (pair.two.folder / "conf.d" / "other.conf").write_text(f"server {{ listen 127.0.0.1:{pair.one.port}; }}\n")
    activation = pair.gateway.activate(pair.gateway.stage("zone-b"))
    with pytest.raises(GatewayError, match=r"^gw-2: the config is not in force.*bind\(\)") as caught:
        pair.gateway.prove_applied(activation, 5)
    assert "gw-1: done" in (caught.value.state or "")
    assert pair.answers() == ("zone-b", "zone-a")
