"""One look at a whole estate over connections that stay open. Changes nothing on any host."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from drillctl import overview, survey
from drillctl.compare.identity import digest
from drillctl.errors import DrillctlError, HostError, Unreachable
from drillctl.guard.client import GuardClient
from drillctl.hosts.fleet import each
from drillctl.patrol.look import GatewayLook, Look, Trouble, ZoneLook
from drillctl.patrol.model_hashes import ModelHashes
from drillctl.survey import HostSurvey

if TYPE_CHECKING:
    from drillctl.hosts.fleet import Fleet
    from drillctl.inventory import Host, Inventory
    from drillctl.patrol.connections import Connections

ASK = 5.0
"""Seconds for one answer of a server, as in `drillctl status`."""


class Sampler:
    """Looks at the hosts of an inventory; `wait` waits for hashes that have to be computed first."""

    def __init__(self, inventory: Inventory, connections: Connections, *, wait: bool = False) -> None:
        self.inventory = inventory
        self.connections = connections
        self.hashes = ModelHashes()
        self._wait = wait

    def look(self) -> Look:
        """Look once. Hosts that cannot be reached are part of what was found, not exceptions."""
        at, begun = datetime.now(UTC), time.monotonic()
        fleet, troubles = self.connections.fleet()
        hosts = self.inventory.hosts
        gateways = {host.name for host in self.inventory.gateway.hosts}
        found: dict[str, Any] = each(
            hosts,
            lambda host: (
                self._gateway(fleet, host, troubles)
                if host.name in gateways
                else self._zone_host(fleet, host, troubles)
            ),
        )
        configured, reason, configs = self._configured(fleet)
        serving, problem = overview.serving_zone(self.inventory)
        return Look(
            at=at,
            zones=tuple(found[host.name] for zone in self.inventory.zones for host in zone.hosts),
            gateways=tuple(
                replace(found[host.name], config_sha256=configs.get(host.name)) for host in self.inventory.gateway.hosts
            ),
            configured_zone=configured,
            configured_reason=reason,
            serving_zone=serving,
            serving_problem=problem,
            seconds=time.monotonic() - begun,
        )

    def _zone_host(self, fleet: Fleet, host: Host, troubles: dict[str, Trouble]) -> ZoneLook:
        zone = next(zone for zone in self.inventory.zones if host in zone.hosts)
        path = self.inventory.model_path(host)
        about = HostSurvey(host.name, zone.name, zone.role, host.address, path)
        transport = fleet.transports.get(host.name)
        if transport is None:
            return ZoneLook(about, troubles.get(host.name) or Trouble("not connected yet"))
        trouble: Trouble | None = None
        problems: list[str] = []
        try:
            about = replace(about, sha256_disk=self.hashes.of(transport, path, wait=self._wait))
        except Unreachable as error:
            self.connections.lost(host.name, error.message)
            trouble = Trouble(error.message)
            if not any(gateway.name in fleet.transports for gateway in self.inventory.gateway.hosts):
                return ZoneLook(about, trouble)
        except HostError as error:
            problems.append(error.message)
        look = self._server(fleet, host, about, problems)
        return replace(look, trouble=trouble)

    def _server(self, fleet: Fleet, host: Host, about: HostSurvey, problems: list[str]) -> ZoneLook:
        """Ask a host's server for its health and what it runs, the way the gateway would."""
        latency = fingerprint = None
        try:
            reply = survey.ask(self.inventory, fleet, host, self.inventory.service.paths.health, ASK)
            latency = reply.seconds
            about = replace(about, health=survey.read_health(reply))
            info = survey.ask(self.inventory, fleet, host, self.inventory.service.paths.info, ASK).json()
            model = info.get("model")
            sha256 = model.get("sha256") if isinstance(model, dict) else None
            about = replace(about, info=info, device=info.get("device"), sha256_loaded=sha256)
            fingerprint = digest(info) if about.health.ready else None
        except HostError as error:
            problems.append(error.message)
        about = replace(about, problem="; ".join(problems) or None)
        return ZoneLook(about, latency=latency, fingerprint=fingerprint)

    def _gateway(self, fleet: Fleet, host: Host, troubles: dict[str, Trouble]) -> GatewayLook:
        transport = fleet.transports.get(host.name)
        if transport is None:
            return GatewayLook(host.name, troubles.get(host.name) or Trouble("not connected yet"))
        try:
            return GatewayLook(host.name, holding=GuardClient(transport).show())
        except Unreachable as error:
            self.connections.lost(host.name, error.message)
            return GatewayLook(host.name, Trouble(error.message))
        except HostError as error:
            return GatewayLook(host.name, Trouble(error.message))

    def _configured(self, fleet: Fleet) -> tuple[str | None, str | None, dict[str, str]]:
        """Return the zone that the reachable gateway hosts are configured for, why it is none, and their configs."""
        from drillctl.gateway.nginx import NginxGateway

        reachable = tuple(host for host in self.inventory.gateway.hosts if host.name in fleet.transports)
        if not reachable:
            return None, "no gateway host can be reached", {}
        gateway = self.inventory.gateway.model_copy(update={"hosts": reachable})
        try:
            config = NginxGateway(
                self.inventory.model_copy(update={"gateway": gateway}), fleet.transports, "watch"
            ).read()
        except DrillctlError as error:
            return None, survey.why(error), {}
        return config.configured_zone, config.reason, {host.host: host.sha256 for host in config.hosts}
