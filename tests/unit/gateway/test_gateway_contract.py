"""What holds for every gateway that is switched: real ones of each kind, and the scripted one, go through the same."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from drillctl.errors import GatewayError
from drillctl.gateway.kinds import gateway_of
from drillctl.gateway.scripted import ScriptedGateway
from drillctl.hosts.local import LocalTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.gateway.gateway import Gateway
    from drillctl.inventory import Inventory

    from .conftest import RunningHaproxy, RunningNginx


@dataclass
class Subject:
    """A gateway, a way to let one client ask, and the addresses of the two servers."""

    gateway: Gateway
    ask: Callable[[], None]
    primary: str
    standby: str
    inventory: Inventory


@pytest.fixture(params=["nginx", "nginx-flag", "haproxy", "scripted"])
def subject(request: pytest.FixtureRequest) -> Subject:
    """Return a gateway of each kind."""
    running: RunningNginx | RunningHaproxy

    def ask() -> None:
        assert running.answer() is not None

    if request.param == "haproxy":
        running = haproxy = request.getfixturevalue("haproxy")
        haproxy.start()
        return Subject(haproxy.gateway(), ask, haproxy.primary, haproxy.standby, haproxy.inventory())
    running = nginx = request.getfixturevalue("nginx")
    if request.param == "scripted":
        scripted = ScriptedGateway(nginx.inventory(), nginx.live.read_bytes())
        return Subject(scripted, lambda: scripted.answer(1), nginx.primary, nginx.standby, nginx.inventory())
    options: dict[str, object] = {}
    if request.param == "nginx-flag":
        options = {"kind": "nginx-flag", "flag": str(nginx.flag)}
        nginx.adopt(**options)
        time.sleep(0.1)  # so that the workers are younger than the config
    nginx.start()
    return Subject(nginx.gateway(**options), ask, nginx.primary, nginx.standby, nginx.inventory(**options))


def test_a_drill_switches_proves_counts_and_restores(subject: Subject) -> None:
    it = subject.gateway
    original = it.read()
    assert (original.configured_zone, original.reason) == ("zone-a", None)
    assert it.test().keys() == {"gateway"}
    staged = it.stage("zone-b")
    assert staged.zone == "zone-b"
    assert any(line.startswith("+") for line in staged.hosts[0].diff.splitlines()[2:])
    assert it.read() == original, "staging changes nothing"
    activation = it.activate(staged)
    it.prove_applied(activation, 5)
    time.sleep(0.1)  # nginx writes the line of the proof's own request after its answer
    mark = it.access_mark()
    subject.ask()
    assert it.served_since(mark).by_address == {subject.standby: 1}
    assert it.read().configured_zone == "zone-b"
    it.discard(staged)
    it.prove_applied(it.restore(original), 5)
    time.sleep(0.1)
    mark = it.access_mark()
    subject.ask()
    assert it.served_since(mark).by_address == {subject.primary: 1}
    assert it.read() == original
    it.prove_applied(it.restore(original), 5)
    assert it.read() == original


def test_a_switch_leads_back_with_the_roles_exchanged(subject: Subject) -> None:
    """As `drillctl switch` to the zone that the inventory calls primary does it."""
    if isinstance(subject.gateway, ScriptedGateway):
        pytest.skip("the scripted one holds its config itself, so that there is no second way to it")
    there = subject.gateway
    there.prove_applied(there.activate(there.stage("zone-b")), 5)
    back = gateway_of(subject.inventory.turned(), {"gateway": LocalTransport("gateway")}, "run-2")
    assert (back.read().configured_zone, back.read().reason) == ("zone-b", None)
    original = back.read()
    back.prove_applied(back.activate(back.stage("zone-a")), 5)
    assert back.read().configured_zone == "zone-a"
    time.sleep(0.1)
    mark = back.access_mark()
    subject.ask()
    assert back.served_since(mark).by_address == {subject.primary: 1}
    back.prove_applied(back.restore(original), 5)
    assert back.read() == original


def test_discarded_candidates_cannot_be_activated(subject: Subject) -> None:
    it = subject.gateway
    staged = it.stage("zone-b")
    it.discard(staged)
    it.discard(staged)
    with pytest.raises(GatewayError) as caught:
        it.activate(staged)
    assert caught.value.state == "nothing was changed"
    assert it.read().configured_zone == "zone-a"


def test_a_restored_config_makes_a_stale_candidate_unusable(subject: Subject) -> None:
    it = subject.gateway
    original = it.read()
    staged = it.stage("zone-b")
    it.prove_applied(it.activate(staged), 5)
    it.prove_applied(it.restore(original), 5)
    with pytest.raises(GatewayError):
        it.activate(staged)


def test_a_zone_that_is_not_there_is_refused(subject: Subject) -> None:
    if isinstance(subject.gateway, ScriptedGateway):
        pytest.skip("the scripted one is for tests, which name zones that are there")
    with pytest.raises(GatewayError, match="there is no zone `zone-c`"):
        subject.gateway.stage("zone-c")


def test_the_scripted_gateway_can_fail_to_apply_and_fail_at_will(nginx: RunningNginx) -> None:
    it = ScriptedGateway(nginx.inventory(), nginx.live.read_bytes())
    it.applies = False
    activation = it.activate(it.stage("zone-b"))
    with pytest.raises(GatewayError, match="not in force"):
        it.prove_applied(activation, 1)
    it.fail["stage"] = GatewayError("the test failed")
    with pytest.raises(GatewayError, match="the test failed"):
        it.stage("zone-a")
    assert it.calls == ["stage", "activate", "prove_applied", "stage"]


def test_the_scripted_gateway_notices_other_peoples_edits(nginx: RunningNginx) -> None:
    it = ScriptedGateway(nginx.inventory(), nginx.live.read_bytes())
    original = it.read()
    staged = it.stage("zone-b")
    it.files["gateway"] += b"# edited\n"
    with pytest.raises(GatewayError, match="someone changed"):
        it.activate(staged)
    with pytest.raises(GatewayError, match="someone changed"):
        it.restore(original)
