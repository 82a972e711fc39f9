"""Which zone answers through one gateway host: asked from that host, at the address that clients use."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from drillctl.errors import GatewayError, HostError
from drillctl.hosts import http

if TYPE_CHECKING:
    from drillctl.hosts.transport import Transport
    from drillctl.inventory import Inventory

PAUSE = 0.02
"""Seconds between two questions."""


def prove(inventory: Inventory, transport: Transport, address: str, zone: str, timeout: float) -> None:
    """Return once a zone answers through a gateway host. Raises GatewayError when it does not in `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        said = answer(inventory, transport, address, max(0.05, min(2.0, deadline - time.monotonic())))
        if said == zone:
            return
        if time.monotonic() >= deadline:
            raise GatewayError(
                f"the switch is made, but {said or 'no zone'} answers through this host, not {zone}",
                host=transport.host,
                state=f"the gateway was told to send clients to {zone}",
                hint="was it reloaded since its config was changed? look at its error log, and at the zone's servers",
            )
        time.sleep(PAUSE)


def answer(inventory: Inventory, transport: Transport, address: str, timeout: float) -> str | None:
    """Return the zone that answers through a gateway host, or None.

    The host is asked at its own address, so that each of several is proven, else at that of the URL: a gateway may
    listen on a shared address only. TLS is spoken to the URL alone, as a client.
    """
    url = urlsplit(inventory.gateway.url)
    path = inventory.service.paths.info
    if url.scheme == "https":
        return _as_client(inventory, timeout)
    for place in dict.fromkeys((address, url.hostname or address)):
        try:
            reply = http.request(transport, place, url.port or 80, path, timeout=timeout)
        except HostError:
            continue
        zone = reply.headers.get(inventory.service.zone_header.lower())
        if reply.status == 200 and zone:
            return zone
    return None


def _as_client(inventory: Inventory, timeout: float) -> str | None:
    import requests

    with requests.Session() as session:
        session.trust_env = False
        try:
            reply = session.get(inventory.gateway.url.rstrip("/") + inventory.service.paths.info, timeout=timeout)
        except requests.RequestException:
            return None
    return reply.headers.get(inventory.service.zone_header) if reply.status_code == 200 else None
