"""Undos as the guards of their hosts get them (pure): which host, which id, which arguments.

The id of an order is that of its undo. A `service.stop` has no order: a server that a vanished drill started may go on
running, as after a drill that came to its end.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from drillctl.errors import NotStarted
from drillctl.faults.processes import named
from drillctl.guard import gateway_orders
from drillctl.guard.lease import Order
from drillctl.hosts.systemd import hold_of
from drillctl.inventory import Haproxy, NginxFlag, NginxPassive, SystemdStart

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drillctl.gateway.gateway import GatewayConfig, Staged
    from drillctl.inventory import Host, Inventory
    from drillctl.undo import Undo


def hosts_of(inventory: Inventory, undo: Undo) -> tuple[str, ...]:
    """Return the names of the hosts whose guards hold an undo."""
    if undo.kind == "service.stop":
        return ()
    return (undo.host,) if undo.host else tuple(host.name for host in inventory.gateway.hosts)


def of_zone(inventory: Inventory, host: Host, undo: Undo) -> Order:
    """Return the order of an undo that concerns one host alone: a fault's or an action's. KeyError for other kinds."""
    return Order(undo.id, undo.kind, _arguments(inventory, host, undo))


def _arguments(inventory: Inventory, host: Host, undo: Undo) -> tuple[str, ...]:
    arguments = undo.arguments
    match undo.kind:
        case "service.revive":
            return _revive(inventory, host, arguments)
        case "service.continue":
            return (*named(inventory, host), arguments["token"])
        case "filter.remove":
            return (arguments["table"],)
        case "file.put-back":
            return (arguments["live"], arguments["kept"])
        case "file.discard":
            return (arguments["path"],)
        case "command.run":
            return (arguments["line"],)
        case _:
            raise KeyError(undo.kind)


def _revive(inventory: Inventory, host: Host, arguments: Mapping[str, str]) -> tuple[str, ...]:
    """Return how a server is started again; with a health URL it may be restarted (docs/guard.md)."""
    start = inventory.service.start
    unit = arguments.get("unit") or (start.unit if isinstance(start, SystemdStart) else None)
    if unit is None:
        return ("process",)
    url = f"http://{gateway_orders.with_port(inventory, host)}{inventory.service.paths.health}"
    return ("systemd", unit, hold_of(unit), *([url] if arguments.get("restart") else []))


def discard(places: Mapping[str, tuple[str, ...]]) -> dict[str, Order]:
    """Return, by host, the orders that remove staged files."""
    return {host: Order("gateway.discard", "gateway.discard", paths) for host, paths in places.items()}


def restore(inventory: Inventory, original: GatewayConfig, staged: Staged | None) -> dict[str, Order]:
    """Return, by host, the orders that give clients back to the primary once it answers, as the gateway's kind does."""
    options = inventory.gateway
    if isinstance(options, NginxFlag):
        return gateway_orders.flag(inventory, options, original, staged)
    if isinstance(options, NginxPassive):
        return {}  # nothing is switched
    if isinstance(options, Haproxy):
        return gateway_orders.haproxy(inventory, options, original, staged)
    urls = gateway_orders.health_urls(inventory, inventory.zone("primary"))
    candidates = {host.host: host.sha256 for host in staged.hosts} if staged else {}
    return {
        config.host: Order(
            "gateway.restore",
            "gateway.restore",
            (
                config.resolved,
                config.sha256,
                f"{config.mode:o}",
                config.owner,
                candidates.get(config.host, config.sha256),
                shlex.join(options.reload),
                *urls,
            ),
            config.content,
        )
        for config in original.hosts
    }


def memory(inventory: Inventory, host: Host) -> bytes:
    """Return how a host's process service is started, for the guard to remember; empty for a systemd unit.

    Lines: pidfile, working folder, log, number of words, the words of the command, then NAME=value of its environment.
    Raises NotStarted when a word holds a newline.
    """
    start = inventory.service.start
    if isinstance(start, SystemdStart):
        return b""
    pidfile = host.pidfile or start.pidfile or ""
    words = [*([start.interpreter] if start.interpreter else []), *start.command]
    variables = [f"{name}={value}" for name, value in sorted(inventory.environment_of(host).items())]
    log = host.log or start.log or f"{pidfile}.log"
    lines = [pidfile, start.working_folder, log, str(len(words)), *words, *variables]
    if any("\n" in line for line in lines):
        raise NotStarted(
            "a word of service.start.command holds a newline, which the guard cannot remember",
            host=host.name,
            hint="put such a script into a file and name that",
            state="nothing was changed",
        )
    return "".join(f"{line}\n" for line in lines).encode()
