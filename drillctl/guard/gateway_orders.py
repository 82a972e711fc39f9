"""What the guards of gateway hosts are told to put back, for kinds of gateways whose config file stays (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.gateway import flag as flags
from drillctl.gateway.haproxy_state import commands, from_words
from drillctl.gateway.state_file import parts_of
from drillctl.guard.lease import Order

if TYPE_CHECKING:
    from drillctl.gateway.gateway import GatewayConfig, Staged
    from drillctl.inventory import Haproxy, Host, Inventory, NginxFlag, Role, Zone

ID = "gateway.restore"
"""The id of every order that gives clients back to the zone that served them; its kind says how."""


def flag(inventory: Inventory, options: NginxFlag, original: GatewayConfig, staged: Staged | None) -> dict[str, Order]:
    """Return, by host, the orders that make the flag what it was, once the zone that it then names answers."""
    ours = {host.host: host.sha256 for host in staged.hosts} if staged else {}
    orders = {}
    for config in original.hosts:
        was = flags.from_words(config.choice)
        role: Role = "primary" if was is None else "standby"
        urls = health_urls(inventory, inventory.home(role))
        rights = ("-", "-", "-") if was is None else (was.sha256, f"{was.mode:o}", was.owner)
        orders[config.host] = Order(
            ID,
            "gateway.flag",
            (
                options.flag_file,
                *rights,
                ours.get(config.host, rights[0]),
                *urls,
            ),
            b"" if was is None else was.content,
        )
    return orders


def haproxy(inventory: Inventory, options: Haproxy, original: GatewayConfig, staged: Staged | None) -> dict[str, Order]:
    """Return, by host, the orders that set the servers as they were, and put the state file back."""
    ours = {host.host: host.content.decode() for host in staged.hosts} if staged else {}
    orders = {}
    for config in original.hosts:
        was, file = parts_of(config.choice)
        orders[config.host] = Order(
            ID,
            "gateway.haproxy",
            (
                options.socket,
                *(word or "-" for word in file.words[:1]),
                options.backend,
                was,
                ours.get(config.host, was),
                commands(options.backend, from_words(was)),
                options.state_file,
                *(word or "-" for word in file.words[1:]),
                *health_urls(inventory, inventory.zone("primary")),
            ),
            file.content,
        )
    return orders


def health_urls(inventory: Inventory, zone: Zone) -> tuple[str, ...]:
    """Return the health URLs of a zone's servers, as the gateway reaches them."""
    path = inventory.service.paths.health
    return tuple(f"http://{with_port(inventory, host)}{path}" for host in zone.hosts)


def zone_of(inventory: Inventory, order: Order) -> str | None:
    """Return the zone that an order gives clients back to, by the health URLs at its end; None: none of these."""
    for zone in inventory.zones:
        urls = health_urls(inventory, zone)
        if order.arguments[-len(urls) :] == urls:
            return zone.name
    return None


def with_port(inventory: Inventory, host: Host) -> str:
    """Return where a host's server is, as the gateway reaches it, always with its port."""
    upstream = inventory.upstream(host)
    return upstream if upstream.rpartition(":")[2].isdigit() else f"{upstream}:{inventory.port(host)}"
