"""One look at a whole estate over connections that stay open. Changes nothing on any host."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from drillctl import overview, survey
from drillctl.compare.identity import digest
from drillctl.errors import DrillctlError, HostError, Unreachable
from drillctl.guard.client import GuardClient
from drillctl.hosts.fleet import Fleet, each
from drillctl.patrol.look import GatewayLook, Look, Trouble, ZoneLook
from drillctl.patrol.model_hashes import ModelHashes
from drillctl.survey import Health, HostSurvey

if TYPE_CHECKING:
    from drillctl.inventory import Host, Inventory
    from drillctl.patrol.connections import Connections

ASK = 5.0
"""Seconds for one answer of a server, as in `drillctl status`."""

ALIVE = 2.0
"""Seconds within which a connection to the gateway must prove itself when a server does not answer over it."""

CUT_OFF = "cut off from the gateway"
"""The health of a server that answers its own host only."""


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
        unchecked: str | None = None
        try:
            about = replace(about, sha256_disk=self.hashes.of(transport, path, wait=self._wait))
        except Unreachable as error:
            self.connections.lost(host.name, error.message)
            trouble = Trouble(error.message)
            if not any(gateway.name in fleet.transports for gateway in self.inventory.gateway.hosts):
                return ZoneLook(about, trouble)
        except HostError as error:
            unchecked = error.message
        return replace(self._server(fleet, host, about), trouble=trouble, unchecked=unchecked)

    def _server(self, fleet: Fleet, host: Host, about: HostSurvey) -> ZoneLook:
        """Ask a host's server the way the gateway would. When that fails, ask it from its own host.

        So a server that is down is told from one that only the gateway cannot reach, and neither from a gateway whose
        SSH connection is lost.
        """
        gateway = next((g.name for g in self.inventory.gateway.hosts if g.name in fleet.transports), None)
        problems: list[str] = []
        try:
            look = self._asked(fleet, host, about)
        except HostError as error:
            problems.append(error.message)
            look = ZoneLook(about)
            if gateway is not None and host.name in fleet.transports:
                with contextlib.suppress(HostError):
                    look = self._asked(Fleet(self.inventory, {host.name: fleet[host]}), host, about)
                    problems.pop()
            if look.health.ready and gateway is not None and fleet[gateway].alive(ALIVE):
                problems.append("its server answers on its own host, but not to the gateway")
                about = replace(look.survey, health=Health(CUT_OFF, uptime_sec=look.health.uptime_sec))
                look = ZoneLook(about, fingerprint=look.fingerprint)
        return replace(look, survey=replace(look.survey, problem="; ".join(problems) or None))

    def _asked(self, fleet: Fleet, host: Host, about: HostSurvey) -> ZoneLook:
        """Return what a host's server says of its health and of what it runs. Raises HostError."""
        paths = self.inventory.service.paths
        reply = survey.ask(self.inventory, fleet, host, paths.health, ASK)
        about = replace(about, health=survey.read_health(reply))
        info = survey.ask(self.inventory, fleet, host, paths.info, ASK).json()
        model = info.get("model")
        sha256 = model.get("sha256") if isinstance(model, dict) else None
        about = replace(about, info=info, device=info.get("device"), sha256_loaded=sha256)
        return ZoneLook(about, latency=reply.seconds, fingerprint=digest(info) if about.health.ready else None)

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
        from drillctl.gateway.kinds import gateway_of

        reachable = tuple(host for host in self.inventory.gateway.hosts if host.name in fleet.transports)
        if not reachable:
            return None, "no gateway host can be reached", {}
        gateway = self.inventory.gateway.model_copy(update={"hosts": reachable})
        try:
            of_reachable = self.inventory.model_copy(update={"gateway": gateway})
            config = gateway_of(of_reachable, fleet.transports, "watch").read()
        except DrillctlError as error:
            return None, survey.why(error), {}
        return config.configured_zone, config.reason, {host.host: host.sha256 for host in config.hosts}
