"""Which zone answers through a gateway host, by real requests."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from drillctl.errors import GatewayError
from drillctl.gateway import data_path
from drillctl.hosts.local import LocalTransport

from .conftest import Backend, free_port, inventory_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drillctl.inventory import Inventory


@pytest.fixture
def backend() -> Iterator[Backend]:
    made = Backend("zone-b")
    yield made
    made.close()


def estate(port: int) -> Inventory:
    return inventory_of(port, "10.0.0.1:80", "10.0.0.2:80", {"config": "/c", "upstream": "u"})


def test_the_zone_is_that_of_the_answers_header(backend: Backend) -> None:
    it = estate(backend.port), LocalTransport("gateway")
    assert data_path.answer(*it, "127.0.0.1", 2) == "zone-b"
    data_path.prove(*it, "127.0.0.1", "zone-b", 2)


def test_a_gateway_that_listens_on_the_urls_address_only_is_asked_there(backend: Backend) -> None:
    assert data_path.answer(estate(backend.port), LocalTransport("gateway"), "127.0.0.9", 2) == "zone-b"


def test_what_a_gateway_answers_at_its_own_address_is_not_outdone_by_another_at_a_shared_one(backend: Backend) -> None:
    own = Backend("zone-a", "127.0.0.9", backend.port)
    own.status = 503
    it = estate(backend.port), LocalTransport("gateway")
    try:
        assert data_path.answer(*it, "127.0.0.9", 2) is None
        with pytest.raises(GatewayError, match="no zone answers through this host"):
            data_path.prove(*it, "127.0.0.9", "zone-b", 0.2)
        with pytest.raises(
            GatewayError, match=rf"no zone .* at 127\.0\.0\.9:{own.port}, not zone-b \(it answers 503\)"
        ):
            data_path.check(*it, "127.0.0.9", "zone-b")
        assert backend.asked == []
        assert set(own.asked) == {f"127.0.0.1:{backend.port}"}, "a gateway of several names must know which is meant"
    finally:
        own.close()


def test_a_gateway_that_listens_and_says_nothing_is_not_outdone_either(backend: Backend) -> None:
    with socket.create_server(("127.0.0.9", backend.port)):  # nobody accepts: the kernel does, and no answer comes
        it = estate(backend.port), LocalTransport("gateway")
        assert data_path.answer(*it, "127.0.0.9", 0.3) is None
    assert backend.asked == []


def test_a_gateway_is_seen_before_a_drill_at_its_own_address_or_at_a_shared_one(backend: Backend) -> None:
    it = estate(backend.port), LocalTransport("gateway")
    assert data_path.check(*it, "127.0.0.1", "zone-b") is True
    assert data_path.check(*it, "127.0.0.9", "zone-b") is False
    with pytest.raises(GatewayError, match="zone-b answers through this host"):
        data_path.check(*it, "127.0.0.1", "zone-a")
    with pytest.raises(GatewayError, match="could not be reached"):
        data_path.check(estate(free_port()), LocalTransport("gateway"), "127.0.0.1", "zone-a")


def test_an_error_is_no_answer_even_if_it_names_a_zone(backend: Backend) -> None:
    backend.status = 503
    assert data_path.answer(estate(backend.port), LocalTransport("gateway"), "127.0.0.1", 2) is None


def test_another_zone_and_nobody_are_told_apart(backend: Backend) -> None:
    transport = LocalTransport("gateway")
    with pytest.raises(GatewayError, match="but zone-b answers through this host, not zone-a"):
        data_path.prove(estate(backend.port), transport, "127.0.0.1", "zone-a", 0.2)
    begun = time.monotonic()
    with pytest.raises(GatewayError, match="but no zone answers"):
        data_path.prove(estate(free_port()), transport, "127.0.0.1", "zone-a", 0.2)
    assert time.monotonic() - begun < 3
