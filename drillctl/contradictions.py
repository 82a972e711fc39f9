"""Contradictions of an inventory: what no single field shows, each with its place in the file (pure)."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drillctl import yamlfile
    from drillctl.gate_plan import GatePlan
    from drillctl.inventory import Host, Inventory

Found: TypeAlias = "tuple[yamlfile.Location, str]"
"""Where a contradiction is, and what it is."""


def contradictions(inventory: Inventory) -> list[Found]:
    """Return what no single field shows: roles, names or addresses used twice, a start without a pidfile."""
    return list(
        chain(
            _of_zones(inventory),
            _of_hosts(inventory),
            _of_logins(inventory),
            _of_channels(inventory),
            _of_gateway(inventory),
            _of_gates(inventory.gates),
        )
    )


def _of_zones(inventory: Inventory) -> Iterator[Found]:
    roles = [zone.role for zone in inventory.zones]
    if sorted(roles) != ["primary", "standby"]:
        yield ("zones", 1, "role"), "one zone must be `primary` and one `standby`; both say " + roles[0]
    if inventory.zones[0].name == inventory.zones[1].name:
        yield ("zones", 1, "name"), f"zone `{inventory.zones[1].name}` is named twice"


def _of_hosts(inventory: Inventory) -> Iterator[Found]:
    names: dict[str, str] = {}
    addresses: dict[str, str] = {}
    for location, host in _located(inventory):
        if host.name in names:
            yield (*location, "name"), f"host `{host.name}` is named twice (also {names[host.name]})"
        if host.address in addresses:
            message = f"address {host.address} is used twice: by `{addresses[host.address]}` and `{host.name}`"
            yield (*location, "address"), message + "; each host needs its own"
        names.setdefault(host.name, ".".join(map(str, location)))
        addresses.setdefault(host.address, host.name)
    start = inventory.service.start
    if start.kind == "process":
        for location, host in _located(inventory):
            if location[0] == "zones" and not (host.pidfile or start.pidfile):
                yield location, f"`{host.name}` needs a `pidfile`, here or in service.start"


def _of_logins(inventory: Inventory) -> Iterator[Found]:
    for location, host in _located(inventory):
        login = inventory.login(host)
        if login.by != "installed":
            continue
        where: yamlfile.Location = (*location, "ssh") if host.ssh.model_fields_set else ("ssh",)
        if login.user is None:
            yield where, "`privileges: installed` needs `user`: who logs in"
        elif login.user == "root":
            yield where, "`privileges: installed` is for a user of drillctl's own, not for root"
        gateway = inventory.gateway
        if location[0] == "gateway" and gateway.kind == "haproxy" and not gateway.socket.startswith("/"):
            said = "`privileges: installed` needs the path of a socket that only root may open: whoever is on the host "
            yield ("gateway", "socket"), f"{said}may say anything to {gateway.socket}"


def _of_channels(inventory: Inventory) -> Iterator[Found]:
    for number, channel in enumerate(inventory.notify):
        if (channel.environment is None) == (channel.file is None):
            yield ("notify", number), f"`{channel.name}` needs either `environment` or `file`"
        if channel.name in {other.name for other in inventory.notify[:number]}:
            yield ("notify", number, "name"), f"channel `{channel.name}` is named twice"


def _of_gateway(inventory: Inventory) -> Iterator[Found]:
    gateway = inventory.gateway
    if not _names_a_host(gateway.url):
        yield ("gateway", "url"), "the URL names no host, or no port that there is"
    if gateway.kind == "nginx-flag" and gateway.standby == gateway.upstream:
        yield ("gateway", "standby"), f"`{gateway.standby}` is the primary's upstream; the standby needs its own"


def _names_a_host(url: str) -> bool:
    """Tell whether a URL names a host; one such as `http://[` cannot even be taken apart."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _of_gates(gates: GatePlan) -> Iterator[Found]:
    """Find windows and blackouts that mean nothing, or not surely what was meant."""
    if gates.time_zone is None and (gates.windows or gates.blackouts):
        yield ("gates",), "`gates.time_zone` is missing; windows and blackouts need one, such as Europe/Berlin"
    for number, window in enumerate(gates.windows):
        if window.opens == "24:00":
            yield ("gates", "windows", number, "opens"), "a day begins at 00:00; 24:00 is for `closes`"
        if window.opens == window.closes:
            message = f"the window closes as it opens, at {window.opens}; a whole day is 00:00 to 24:00"
            yield ("gates", "windows", number, "closes"), message
    for number, blackout in enumerate(gates.blackouts):
        if blackout.last_day is not None and blackout.last_day < blackout.first_day:
            message = f"the blackout ends on {blackout.last_day}, before it begins on {blackout.first_day}"
            yield ("gates", "blackouts", number, "last_day"), message


def _located(inventory: Inventory) -> list[tuple[yamlfile.Location, Host]]:
    located: list[tuple[yamlfile.Location, Host]] = []
    for z, zone in enumerate(inventory.zones):
        located.extend((("zones", z, "hosts", h), host) for h, host in enumerate(zone.hosts))
    located.extend((("gateway", "hosts", h), host) for h, host in enumerate(inventory.gateway.hosts))
    return located
