"""One look over hosts in memory: what is asked, from where, and what becomes of hosts that do not answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from drillctl import overview
from drillctl.errors import HostError, Unreachable
from drillctl.gateway import nginx_scripts
from drillctl.guard.client import GuardClient
from drillctl.history.store import History
from drillctl.hosts.scripted import Answer, Page, Ran, ScriptedTransport
from drillctl.patrol.baseline import Baseline
from drillctl.patrol.connections import Connections
from drillctl.patrol.drift import findings
from drillctl.patrol.sampler import Sampler
from drillctl.routing import Served

if TYPE_CHECKING:
    from pathlib import Path

    from drillctl.inventory import Host, Inventory
    from drillctl.patrol.look import Look

CONFIG = b"upstream recognition {\n    server 10.0.1.1:8000;\n    # server 10.0.2.1:8000;\n}\n"


class World:
    """The estate's hosts. `cut` are servers that the gateway cannot reach, `dead` those that nobody can.

    `odd` is what a server answers instead.
    """

    def __init__(self, estate: Inventory) -> None:
        self.estate = estate
        self.cut: set[str] = set()
        self.dead: set[str] = set()
        self.odd: dict[tuple[str, str], bytes] = {}
        self.logins: dict[str, HostError] = {}
        self.epoch = 3
        self.hosts = {
            host.name: ScriptedTransport(host.name, self.reply, server=self.server(host)) for host in estate.hosts
        }

    def login(self, host: Host) -> ScriptedTransport:
        if host.name in self.logins:
            raise self.logins[host.name]
        return self.hosts[host.name]

    def reply(self, ran: Ran) -> Answer:
        if ran.argv[0] == "stat":
            return Answer(b"1 2 3 4 5\n")
        if ran.argv[0] == "sha256sum":
            return Answer(f"{self.estate.service.model.sha256}  model\n".encode())
        if ran.argv[:2] == ("sh", "-c") and ran.argv[2] == nginx_scripts.READ:
            return Answer(b"/etc/nginx/conf.d/recognition.conf\n644 0:0\n" + CONFIG)
        assert "guard.sh" in ran.argv[2], ran
        return Answer(f"state free\nepoch {self.epoch}\nfolder /var/lib/drillctl/gateway".encode())

    def server(self, asker: Host) -> Any:
        at = {f"{host.address}:8000": host for zone in self.estate.zones for host in zone.hosts}

        def serve(address: str, path: str, body: bytes) -> Page | None:
            host = at[address]
            if host.name in self.dead or (host.name in self.cut and asker.name == "gateway"):
                return None
            if (host.name, path) in self.odd:
                return Page(self.odd[host.name, path])
            if path == "/health":
                return Page(b'{"status": "healthy", "uptime_sec": 2.0}')
            primary = host.name == "a-1"
            info = {"service": "main" if primary else "backup", "is_primary": primary, "started_at": asker.name}
            return Page(json.dumps({**info, "model": {"sha256": self.estate.service.model.sha256}}).encode())

        return serve


@pytest.fixture
def world(estate: Inventory, monkeypatch: pytest.MonkeyPatch) -> World:
    """Hosts in memory; there is no gateway to be a client of, hence its answer is given."""
    monkeypatch.setattr(overview, "ask_as_client", lambda _: Served("zone-a", 200))
    return World(estate)


@pytest.fixture
def sampler(world: World) -> Sampler:
    return Sampler(world.estate, Connections(world.estate, world.login), wait=True)


def kinds(world: World, look: Look) -> set[tuple[str, str]]:
    return {(one.kind, one.place) for one in findings(world.estate, look, Baseline())}


def test_a_look_has_everything(world: World, sampler: Sampler) -> None:
    look = sampler.look()
    assert kinds(world, look) == set()
    assert [zone.name for zone in look.zones] == ["a-1", "b-1"]
    assert {zone.survey.sha256_disk for zone in look.zones} == {world.estate.service.model.sha256}
    assert all(zone.fingerprint and zone.latency is not None for zone in look.zones)
    (gateway,) = look.gateways
    assert (look.configured_zone, look.serving_zone) == ("zone-a", "zone-a")
    assert gateway.holding is not None
    assert gateway.holding.epoch == 3
    assert gateway.config_sha256
    assert len({zone.fingerprint for zone in look.zones}) == 1, "what may differ from host to host is left out"
    samples = look.samples("shop")
    assert [(sample.host, sample.role, sample.ready) for sample in samples] == [
        ("a-1", "primary", True),
        ("b-1", "standby", True),
        ("gateway", "gateway", True),
    ]


def test_servers_are_asked_from_the_gateway_as_clients_requests_go(world: World, sampler: Sampler) -> None:
    sampler.look()
    assert sorted(world.hosts["gateway"].asked) == [
        "10.0.1.1:8000/health",
        "10.0.1.1:8000/info",
        "10.0.2.1:8000/health",
        "10.0.2.1:8000/info",
    ]


def test_a_server_that_is_down_is_told_from_one_that_only_the_gateway_cannot_reach(
    world: World, sampler: Sampler
) -> None:
    world.dead.add("a-1")
    world.cut.add("b-1")
    look = sampler.look()
    texts = {one.place: one.text for one in findings(world.estate, look, Baseline())}
    assert texts["a-1"] == "its server does not answer"
    assert texts["b-1"] == "its health is `cut off from the gateway`"


def test_a_gateway_that_cannot_be_reached_is_no_outage_of_the_zones(world: World, sampler: Sampler) -> None:
    world.hosts["gateway"].fail = Unreachable("the connection was lost while a command ran", host="gateway")
    assert kinds(world, sampler.look()) == {("unreachable", "gateway")}
    world.logins["gateway"] = Unreachable("10.0.0.1:22 cannot be reached by SSH", host="gateway")
    assert kinds(world, sampler.look()) == {("unreachable", "gateway")}


def test_a_zone_host_without_ssh_whose_server_answers_is_not_down(world: World, sampler: Sampler) -> None:
    world.hosts["a-1"].fail = Unreachable("no end of `stat` within 30 s", host="a-1")
    look = sampler.look()
    assert kinds(world, look) == {("unreachable", "a-1")}
    assert look.zones[0].health.ready


def test_a_host_that_is_back_is_looked_at_again(world: World, sampler: Sampler) -> None:
    world.hosts["b-1"].fail = Unreachable("the connection was lost", host="b-1")
    assert kinds(world, sampler.look()) == {("unreachable", "b-1")}
    world.hosts["b-1"].fail = None
    assert kinds(world, sampler.look()) == set()
    assert sampler.connections.reconnects == 1


# ---- odd answers of one server


ODD_ANSWERS = [
    b"[" * 200_000,
    b'{"a":' * 900 + b"1" + b"}" * 900,
    b'{"model": {"sha256": ["x"]}, "status": ["x"], "device": {}, "service": [], "uptime_sec": [1]}',
    b'{"model": {"sha256": 5}, "status": 5, "device": 5, "uptime_sec": %s}' % (b"9" * 400),
    b'{"model": {"sha256": true}, "status": true, "device": true, "uptime_sec": true}',
    b'{"model": {"sha256": "\\ud800"}, "status": "\\ud800", "device": "\\u0000", "reason": "\\udfff"}',
    b'{"model": [], "status": {}, "fingerprint": {"\\u0000": "\\u001b[2J"}, "uptime_sec": NaN}',
    b"\xff\xfe",
    b"",
]


@pytest.mark.parametrize("path", ["/health", "/info"])
@pytest.mark.parametrize("odd", ODD_ANSWERS, ids=lambda odd: odd[:24].decode("latin-1"))
def test_whatever_one_server_answers_the_look_is_made_and_stored(
    world: World, sampler: Sampler, tmp_path: Path, path: str, odd: bytes
) -> None:
    world.odd["b-1", path] = odd
    look = sampler.look()
    assert {place for _, place in kinds(world, look)} <= {"b-1"}
    assert "bug" not in {kind for kind, _ in kinds(world, look)}
    with History.open(f"sqlite:///{tmp_path}/history.db") as history:
        history.add_samples(look.samples("shop"))
        assert {sample.host for sample in history.each_sample("shop")} == {"a-1", "b-1", "gateway"}


@pytest.mark.parametrize("said", ['["x"]', "5", "true", '"0"'])
def test_a_hash_of_the_loaded_model_that_is_none_is_found(world: World, sampler: Sampler, said: str) -> None:
    info = f'{{"service": "backup", "is_primary": false, "model": {{"sha256": {said}}}}}'
    world.odd["b-1", "/info"] = info.encode()
    look = sampler.look()
    (text,) = [one.text for one in findings(world.estate, look, Baseline()) if one.kind == "model-loaded"]
    assert text.startswith("the loaded model cannot be told: its server gives `")
    assert look.zones[1].survey.problem is not None


def test_an_error_that_nobody_foresaw_is_the_trouble_of_its_host_alone(world: World, sampler: Sampler) -> None:
    world.hosts["a-1"].fail = ZeroDivisionError("s3cret")  # type: ignore[assignment]
    look = sampler.look()
    (found,) = findings(world.estate, look, Baseline())
    assert (found.kind, found.place) == ("bug", "a-1")
    assert "ZeroDivisionError, hosts/scripted.py:" in found.text
    assert "s3cret" not in found.text
    world.hosts["a-1"].fail = None
    assert kinds(world, sampler.look()) == set()


def test_an_error_that_nobody_foresaw_about_the_gateway_leaves_the_zones_looked_at(
    world: World, sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(GuardClient, "show", fails)
    monkeypatch.setattr(overview, "ask_as_client", fails)
    look = sampler.look()
    assert kinds(world, look) == {("bug", "gateway"), ("serving-zone", "gateway")}
    assert all(zone.health.ready for zone in look.zones)


def test_an_error_that_nobody_foresaw_at_a_login_is_the_trouble_of_its_host_alone(
    world: World, sampler: Sampler
) -> None:
    world.logins["a-1"] = ZeroDivisionError()  # type: ignore[assignment]
    assert kinds(world, sampler.look()) == {("bug", "a-1")}
