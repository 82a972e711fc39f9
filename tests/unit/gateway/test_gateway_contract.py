"""What holds for every gateway that is switched: real ones of each kind and the scripted one go through the same."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from drillctl.errors import GatewayError
from drillctl.gateway.scripted import ScriptedGateway

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.gateway.gateway import Gateway

    from .conftest import RunningNginx


@pytest.fixture(params=["nginx", "nginx-flag", "scripted"])
def gateway(request: pytest.FixtureRequest, nginx: RunningNginx) -> tuple[Gateway, Callable[[], None]]:
    """Return a gateway of each kind, and a way to let one client ask."""
    if request.param == "scripted":
        scripted = ScriptedGateway(nginx.inventory(), nginx.live.read_bytes())
        return scripted, lambda: scripted.answer(1)
    options: dict[str, object] = {}
    if request.param == "nginx-flag":
        options = {"kind": "nginx-flag", "flag": str(nginx.flag)}
        nginx.adopt(**options)
        time.sleep(0.1)  # so that the workers are younger than the config
    nginx.start()

    def ask() -> None:
        assert nginx.answer() is not None

    return nginx.gateway(**options), ask


def test_a_drill_switches_proves_counts_and_restores(
    gateway: tuple[Gateway, Callable[[], None]], nginx: RunningNginx
) -> None:
    it, ask = gateway
    original = it.read()
    assert (original.configured_zone, original.reason) == ("zone-a", None)
    assert it.test().keys() == {"gateway"}
    staged = it.stage("zone-b")
    assert staged.zone == "zone-b"
    assert staged.hosts[0].diff
    assert it.read() == original, "staging changes nothing"
    activation = it.activate(staged)
    it.prove_applied(activation, 5)
    mark = it.access_mark()
    ask()
    assert it.served_since(mark).by_address == {nginx.standby: 1}
    assert it.read().configured_zone == "zone-b"
    it.discard(staged)
    it.prove_applied(it.restore(original), 5)
    ask()
    assert it.served_since(mark).by_address == {nginx.standby: 1, nginx.primary: 1}
    assert it.read() == original
    it.prove_applied(it.restore(original), 5)


def test_discarded_candidates_cannot_be_activated(gateway: tuple[Gateway, Callable[[], None]]) -> None:
    it, _ = gateway
    staged = it.stage("zone-b")
    it.discard(staged)
    it.discard(staged)
    with pytest.raises(GatewayError) as caught:
        it.activate(staged)
    assert caught.value.state == "nothing was changed"
    assert it.read().configured_zone == "zone-a"


def test_a_restored_config_makes_a_stale_candidate_unusable(gateway: tuple[Gateway, Callable[[], None]]) -> None:
    it, _ = gateway
    original = it.read()
    staged = it.stage("zone-b")
    it.prove_applied(it.activate(staged), 5)
    it.prove_applied(it.restore(original), 5)
    with pytest.raises(GatewayError):
        it.activate(staged)


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
