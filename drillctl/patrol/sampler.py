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
from drillctl.patrol import bug
from drillctl.patrol.look import GatewayLook, Look, Trouble, ZoneLook
from drillctl.patrol.model_hashes import ModelHashes
from drillctl.routing import Configured, Served
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
        found: dict[str, Any] = each(self.inventory.hosts, lambda host: self._host(fleet, host, troubles))
        configured, configs = self._configured(fleet)
        served = self._served()
        return Look(
            at=at,
            zones=tuple(found[host.name] for zone in self.inventory.zones for host in zone.hosts),
            gateways=tuple(
                replace(found[host.name], config_sha256=configs.get(host.name)) for host in self.inventory.gateway.hosts
            ),
            configured_zone=configured.zone,
            configured_reason=configured.reason,
            configured_known=configured.known,
            serving_zone=served.zone,
            serving_status=served.status,
            serving_problem=served.problem,
            seconds=time.monotonic() - begun,
        )

    def _host(self, fleet: Fleet, host: Host, troubles: dict[str, Trouble]) -> ZoneLook | GatewayLook:
        """Look at one host. What nobody foresaw is this host's trouble alone: the others are looked at as ever."""
        gateway = host in self.inventory.gateway.hosts
        try:
            return self._gateway(fleet, host, troubles) if gateway else self._zone_host(fleet, host, troubles)
        except Exception as error:  # noqa: BLE001 - a patrol that ends alarms nobody of anything
            trouble = Trouble(bug.in_words(error), bug=True)
            return GatewayLook(host.name, trouble) if gateway else ZoneLook(self._about(host), trouble)

    def _about(self, host: Host) -> HostSurvey:
        zone = next(zone for zone in self.inventory.zones if host in zone.hosts)
        return HostSurvey(host.name, zone.name, zone.role, host.address, self.inventory.model_path(host))

    def _zone_host(self, fleet: Fleet, host: Host, troubles: dict[str, Trouble]) -> ZoneLook:
        about = self._about(host)
        transport = fleet.transports.get(host.name)
        if transport is None:
            return ZoneLook(about, troubles.get(host.name) or Trouble("not connected yet"))
        trouble: Trouble | None = None
        unchecked: str | None = None
        try:
            about = replace(about, sha256_disk=self.hashes.of(transport, about.model_path, wait=self._wait))
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
                look = ZoneLook(about, fingerprint=look.fingerprint, untold=look.untold)
        problems += [look.untold] if look.untold else []
        return replace(look, survey=replace(look.survey, problem="; ".join(problems) or None))

    def _asked(self, fleet: Fleet, host: Host, about: HostSurvey) -> ZoneLook:
        """Return what a host's server says of its health and of what it runs. Raises HostError."""
        paths = self.inventory.service.paths
        reply = survey.ask(self.inventory, fleet, host, paths.health, ASK)
        about = replace(about, health=survey.read_health(reply))
        info = survey.read_info(survey.ask(self.inventory, fleet, host, paths.info, ASK))
        about = replace(about, info=info.document, device=info.device, sha256_loaded=info.sha256)
        fingerprint = digest(info.document) if about.health.ready else None
        return ZoneLook(about, latency=reply.seconds, fingerprint=fingerprint, untold=info.problem)

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

    def _served(self) -> Served:
        """Return what a client gets."""
        try:
            return overview.ask_as_client(self.inventory)
        except Exception as error:  # noqa: BLE001 - as for every single host
            return Served(None, None, bug.in_words(error))

    def _configured(self, fleet: Fleet) -> tuple[Configured, dict[str, str]]:
        """Return what the gateway hosts that can be reached are configured for, and the hashes of their configs."""
        from drillctl.gateway.kinds import gateway_of

        reachable = tuple(host for host in self.inventory.gateway.hosts if host.name in fleet.transports)
        if not reachable:
            return Configured.unreachable(host.name for host in self.inventory.gateway.hosts), {}
        gateway = self.inventory.gateway.model_copy(update={"hosts": reachable})
        try:
            of_reachable = self.inventory.model_copy(update={"gateway": gateway})
            config = gateway_of(of_reachable, fleet.transports, "watch").read()
        except DrillctlError as error:
            return Configured(None, survey.why(error), known=False), {}
        except Exception as error:  # noqa: BLE001 - as for every single host
            return Configured(None, bug.in_words(error), known=False), {}
        return Configured(config.configured_zone, config.reason), {host.host: host.sha256 for host in config.hosts}
