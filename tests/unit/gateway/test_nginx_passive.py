"""nginx that fails over by itself: measured with real requests; and the gateway object never changes anything."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from drillctl.errors import GatewayError

if TYPE_CHECKING:
    from drillctl.gateway.gateway import Gateway

    from .conftest import RunningNginx


@pytest.fixture
def gateway(nginx: RunningNginx) -> Gateway:
    """A running nginx whose standby is a backup."""
    nginx.adopt(kind="nginx-passive")
    nginx.start()
    return nginx.gateway(kind="nginx-passive")


class Load:
    """Clients that ask all the time, each on a new connection; `zones` are the answers, None for a failure."""

    def __init__(self, port: int) -> None:
        self.zones: list[str | None] = []
        self._url = f"http://127.0.0.1:{port}/"
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(3)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._done.wait(0.005):
            try:
                with urllib.request.urlopen(self._url, timeout=5) as reply:
                    self.zones.append(reply.read().decode())
            except OSError:
                self.zones.append(None)


def test_a_lost_primary_costs_no_request(nginx: RunningNginx, gateway: Gateway) -> None:
    original = gateway.read()
    assert (original.configured_zone, original.reason) == ("zone-a", None)
    staged = gateway.stage("zone-b")
    with Load(nginx.port) as load:
        time.sleep(0.5)
        nginx.zone_a.close()
        gateway.prove_applied(gateway.activate(staged), 5)
        time.sleep(1)
    assert load.zones.count(None) == 0
    assert load.zones.count("zone-a") > 10
    assert load.zones.count("zone-b") > 10
    gateway.discard(staged)
    assert gateway.read() == original
    assert nginx.leftovers() == []


@pytest.mark.usefixtures("gateway")
def test_a_standby_that_is_busy_once_goes_on_serving(nginx: RunningNginx) -> None:
    """By nginx's default, `max_fails=1`, one 503 of the last zone that serves keeps everybody from it for 10 s."""

    def ask() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{nginx.port}/", timeout=5) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, ""

    nginx.zone_a.close()
    assert ask() == (200, "zone-b")
    nginx.zone_b.status = 503
    assert ask()[0] == 503
    nginx.zone_b.status = 200
    assert [ask() for _ in range(20)] == [(200, "zone-b")] * 20


def test_a_standby_that_does_not_take_over_is_caught(nginx: RunningNginx, gateway: Gateway) -> None:
    """Nothing is lost: the primary answers on, and so the drill has proven nothing."""
    activation = gateway.activate(gateway.stage("zone-b"))
    with pytest.raises(GatewayError, match="zone-a answers through this host, not zone-b"):
        gateway.prove_applied(activation, 0.3)


def test_restoring_waits_for_the_primary_and_sees_that_the_config_is_untouched(
    nginx: RunningNginx, gateway: Gateway
) -> None:
    original = gateway.read()
    gateway.prove_applied(gateway.restore(original), 5)
    nginx.live.write_bytes(nginx.live.read_bytes() + b"# Ana\n")
    with pytest.raises(GatewayError, match="someone changed"):
        gateway.restore(original)


def test_a_trap_refuses_the_drill(nginx: RunningNginx) -> None:
    nginx.adopt(kind="nginx-passive")
    nginx.live.write_text(nginx.live.read_text().replace(" non_idempotent", ""))
    nginx.start()
    gateway = nginx.gateway(kind="nginx-passive")
    with pytest.raises(GatewayError, match="non_idempotent") as caught:
        gateway.test()
    assert caught.value.state == "nothing was changed"


def test_a_config_without_backup_names_no_zone(nginx: RunningNginx) -> None:
    nginx.start()
    config = nginx.gateway(kind="nginx-passive").read()
    assert config.configured_zone is None
    assert "`backup` servers are none, not those of zone-b" in (config.reason or "")
