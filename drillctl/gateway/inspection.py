"""What is said of a gateway to a person: each host's config, zone and test, and what is missing. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drillctl.errors import DrillctlError, GatewayError
from drillctl.gateway.kinds import gateway_of
from drillctl.gateway.state_file import parts_of
from drillctl.hosts import fleet as fleets
from drillctl.inventory import Haproxy, Nginx

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drillctl.gateway.gateway import HostConfig
    from drillctl.hosts.fleet import Fleet
    from drillctl.inventory import Inventory

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class HostInspection:
    """One gateway host: its config's path, the zone that clients go to, facts and problems in words.

    `known` tells whether its config could be read: then None means that it names no single zone.
    """

    name: str
    config: str
    zone: str | None
    facts: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    known: bool = True


def inspect(inventory: Inventory) -> list[HostInspection]:
    """Look at every gateway host. A host's trouble is among its problems, not raised."""
    fleet, errors = fleets.connect_all(inventory)
    found = []
    with fleet:
        for host in inventory.gateway.hosts:
            if host.name in errors:
                found.append(
                    HostInspection(
                        host.name, inventory.gateway.config, None, problems=(_said(errors[host.name]),), known=False
                    )
                )
            else:
                alone = inventory.model_copy(
                    update={"gateway": inventory.gateway.model_copy(update={"hosts": (host,)})}
                )
                found.append(_inspect(alone, fleet, host.name))
    return found


def document(inventory: Inventory, found: list[HostInspection]) -> dict[str, Any]:
    """Return it as the JSON document of `gateway show --json`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": inventory.gateway.kind,
        "url": inventory.gateway.url,
        "hosts": [
            {
                "name": host.name,
                "config": host.config,
                "configured_zone": host.zone,
                "configured_known": host.known,
                "facts": list(host.facts),
                "problems": list(host.problems),
            }
            for host in found
        ],
    }


def _inspect(inventory: Inventory, fleet: Fleet, name: str) -> HostInspection:
    gateway = gateway_of(inventory, fleet.transports, "show")
    path = inventory.gateway.config
    problems: list[str] = []
    facts: list[str] = []
    zone, known = None, False
    try:
        config = gateway.read()
        zone, known = config.configured_zone, True
        if config.reason:
            problems.append(config.reason)
        facts += _facts(config.hosts[0], haproxy=isinstance(inventory.gateway, Haproxy))
        problems += _missing(inventory, fleet)
    except DrillctlError as error:
        problems.append(_said(error))
    try:
        facts += [f"its own test: {line}" for line in gateway.test()[name].splitlines()[-1:]]
    except DrillctlError as error:
        problems.append(_said(error))
    return HostInspection(name, path, zone, tuple(facts), tuple(problems), known)


def _facts(config: HostConfig, *, haproxy: bool) -> Iterator[str]:
    digest = config.content.decode()[:16] if haproxy else config.sha256[:16]
    yield f"sha256 {digest}…, mode {config.mode:o}, owner {config.owner}"
    if haproxy:
        file = parts_of(config.choice)[1]
        yield f"state file of {len(file.content)} bytes, mode {file.mode}" if file.mode else "state file absent"
    elif config.choice:
        yield config.choice
    for server in config.servers:
        where = f"server {server.text}" if haproxy else f"line {server.line}"
        yield f"{where}: {server.address} {server.state}{' backup' if server.backup else ''}"


def _missing(inventory: Inventory, fleet: Fleet) -> Iterator[str]:
    """Yield what adopting would add, if the gateway is one that can be adopted."""
    from drillctl.gateway.adoption import Adoption

    if not isinstance(inventory.gateway, Nginx):
        return
    try:
        plans = Adoption(inventory, fleet.transports).plan()
    except GatewayError as error:
        yield f"it cannot be adopted as it is: {error.message}"
        return
    for plan in plans.values():
        if plan.changes:
            lines = sum(line[:1] in {"+", "-"} for line in plan.diff.splitlines()[2:])
            yield f"`drillctl gateway adopt` would change {lines} lines (see it with --diff)"


def _said(error: DrillctlError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message
