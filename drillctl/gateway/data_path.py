"""Which zone answers through one gateway host: asked from that host, at the address that clients use."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from drillctl.errors import GatewayError, HostError, NoAnswer
from drillctl.hosts import http

if TYPE_CHECKING:
    from drillctl.hosts.transport import Transport
    from drillctl.inventory import Inventory

PAUSE = 0.02
"""Seconds between two questions."""

CHECK = 5.0
"""Seconds for the answer before a drill."""


@dataclass(frozen=True)
class Said:
    """What was answered at a place: by which zone, if any did, whether that is the host's own address, and in words."""

    zone: str | None
    place: str
    own: bool
    words: str


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


def check(inventory: Inventory, transport: Transport, address: str, zone: str) -> bool:
    """See that a zone answers through a gateway host now, as a switch would be proven there.

    Return whether the host answers at its own address, and not only at that of the URL, which others may share.
    Raises GatewayError when another zone answers, or none.
    """
    said = ask(inventory, transport, address, CHECK)
    if said.zone != zone:
        raise GatewayError(
            f"{said.zone or 'no zone'} answers through this host at {said.place}, not {zone} ({said.words})",
            host=transport.host,
            state="nothing was changed",
            hint=f"{inventory.service.paths.info} must be served through each gateway host: at its own address where "
            "it listens there, else at that of `gateway.url`",
        )
    return said.own


def answer(inventory: Inventory, transport: Transport, address: str, timeout: float) -> str | None:
    """Return the zone that answers through a gateway host, or None."""
    return ask(inventory, transport, address, timeout).zone


def ask(inventory: Inventory, transport: Transport, address: str, timeout: float) -> Said:
    """Ask which zone answers through a gateway host.

    It is asked at its own address, so that each of several is proven; only where nothing listens there, at that of the
    URL: a gateway may listen on a shared address alone. Whatever answers at its own address is its answer. TLS is
    spoken to the URL, as a client.
    """
    url = urlsplit(inventory.gateway.url)
    path, port = inventory.service.paths.info, url.port or 80
    if url.scheme == "https":
        return _as_client(inventory, timeout)
    words = ""
    for place in dict.fromkeys((address, url.hostname or address)):
        own, at = place == address, f"{place}:{port}"
        try:
            reply = http.request(transport, place, port, path, name=url.netloc, timeout=timeout)
        except NoAnswer as error:
            return Said(None, at, own, error.message)
        except HostError as error:
            words = error.message
            continue
        zone = reply.headers.get(inventory.service.zone_header.lower()) if reply.status == 200 else None
        return Said(zone or None, at, own, f"it answers {reply.status}")
    return Said(None, f"{address}:{port}", own=False, words=words)


def _as_client(inventory: Inventory, timeout: float) -> Said:
    import requests

    url = inventory.gateway.url.rstrip("/") + inventory.service.paths.info
    with requests.Session() as session:
        session.trust_env = False
        try:
            reply = session.get(url, timeout=timeout)
        except requests.RequestException as error:
            return Said(None, url, own=False, words=f"{url} gave no answer ({type(error).__name__})")
    zone = reply.headers.get(inventory.service.zone_header) if reply.status_code == 200 else None
    return Said(zone, url, own=False, words=f"it answers {reply.status_code}")
