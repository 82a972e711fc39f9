"""Which zone a gateway's config sends clients to. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.gateway.nginx_config import normalised

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drillctl.gateway.gateway import HostConfig, Server
    from drillctl.inventory import Inventory, Zone


def addresses(inventory: Inventory, zone: Zone) -> tuple[str, ...]:
    """Return what the gateway's config calls the servers of a zone."""
    return tuple(inventory.upstream(host) for host in zone.hosts)


def of_servers(inventory: Inventory, servers: Iterable[Server]) -> tuple[str | None, str | None]:
    """Return the zone whose servers are exactly the enabled ones, or None and the reason."""
    enabled = {normalised(server.address) for server in servers if server.state == "enabled"}
    zones = {zone.name: {normalised(a) for a in addresses(inventory, zone)} for zone in inventory.zones}
    for name, own in zones.items():
        if enabled == own:
            return name, None
    parts = [f"{len(enabled & own)} of {len(own)} servers of {name}" for name, own in zones.items()]
    unknown = sorted(enabled - set().union(*zones.values()))
    if unknown:
        parts.append(f"{', '.join(unknown)} of no zone")
    return None, "enabled are " + ", ".join(parts)


def of_hosts(inventory: Inventory, configs: Iterable[HostConfig]) -> tuple[str | None, str | None]:
    """Return the zone that all gateway hosts are configured for, or None and the reason."""
    found = {config.host: of_servers(inventory, config.servers) for config in configs}
    for host, (zone, reason) in found.items():
        if zone is None:
            return None, f"{host}: {reason}"
    zones = {zone for zone, _ in found.values()}
    if len(zones) > 1:
        return None, "the gateway hosts disagree: " + ", ".join(f"{host} → {zone}" for host, (zone, _) in found.items())
    return next(iter(zones)), None
