"""The state of a whole estate at one moment: both zones, the gateway, and everything that is not well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests

from drillctl.errors import DrillctlError
from drillctl.hosts.fleet import connect_all, each
from drillctl.printable import printable
from drillctl.routing import Configured, Served
from drillctl.survey import HostSurvey, survey, why

if TYPE_CHECKING:
    from drillctl.hosts.fleet import Fleet
    from drillctl.inventory import GatewayKind, Inventory

SCHEMA_VERSION = 1

_WHY: dict[GatewayKind, str] = {
    "nginx": "a reload was not applied",
    "nginx-flag": "nginx does not go by the flag; was it reloaded since its config was changed?",
    "nginx-passive": "nginx has gone over to its backup",
    "haproxy": "clients come in by another backend, or another HAProxy",
}
"""What it means that another zone answers than the gateway is configured for."""


@dataclass(frozen=True)
class Overview:
    """What was found; `problems` are sentences for a person, and all is well only without any."""

    hosts: tuple[HostSurvey, ...]
    configured: Configured
    served: Served
    gateways: dict[str, bool]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Tell whether all is well."""
        return not self.problems

    def document(self) -> dict[str, Any]:
        """Return it as the JSON document of `status --json`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "hosts": [
                {
                    "name": host.name,
                    "zone": host.zone,
                    "role": host.role,
                    "address": host.address,
                    "health": host.health.health,
                    "ready": host.health.ready,
                    "uptime_sec": host.health.uptime_sec,
                    "device": host.device,
                    "model": {
                        "path": host.model_path,
                        "sha256_disk": host.sha256_disk,
                        "sha256_loaded": host.sha256_loaded,
                    },
                }
                for host in self.hosts
            ],
            "gateway": {
                "configured_zone": self.configured.zone,
                "configured_known": self.configured.known,
                "configured_reason": self.configured.reason,
                "serving_zone": self.served.zone,
                "serving_status": self.served.status,
                "hosts": [{"name": name, "reachable": reachable} for name, reachable in self.gateways.items()],
            },
            "problems": list(self.problems),
            "ok": self.ok,
        }


def overview(inventory: Inventory) -> Overview:
    """Look at every host and the gateway. Hosts that cannot be reached are problems, not exceptions."""
    fleet, errors = connect_all(inventory)
    with fleet:
        zone_hosts = [host for zone in inventory.zones for host in zone.hosts]
        found = each(zone_hosts, lambda host: survey(inventory, fleet, host))
        configured = _configured(inventory, fleet)
    served = ask_as_client(inventory)
    problems = [why(error) for error in errors.values()]
    if configured.reason and not errors.keys() & {host.name for host in inventory.gateway.hosts}:
        problems.append(configured.reason)
    problems += [served.problem] if served.problem else []
    for host in zone_hosts:
        if host.name not in errors:
            problems += _host_problems(inventory, found[host.name])
    primary = inventory.zone("primary").name
    if configured.zone not in {None, primary}:
        problems.append(f"the gateway is configured for {configured.zone}, not for the primary {primary}")
    if configured.zone is not None and served.zone not in {None, configured.zone}:
        problems.append(
            f"{served.zone} answers, but the gateway is configured for {configured.zone}: "
            f"{_WHY[inventory.gateway.kind]}"
        )
    return Overview(
        hosts=tuple(found[host.name] for host in zone_hosts),
        configured=configured,
        served=served,
        gateways={host.name: host.name not in errors for host in inventory.gateway.hosts},
        problems=tuple(dict.fromkeys(problems)),
    )


def serving_zone(inventory: Inventory) -> tuple[str | None, str | None]:
    """Ask through the gateway, as a client; return the zone that answered, and what is wrong if it is none of ours."""
    served = ask_as_client(inventory)
    return served.zone, served.problem


def ask_as_client(inventory: Inventory) -> Served:
    """Ask through the gateway, as a client; return what came of it."""
    url = inventory.gateway.url.rstrip("/") + inventory.service.paths.info
    with requests.Session() as session:
        session.trust_env = False
        try:
            reply = session.get(url, timeout=5)
        except (requests.RequestException, ValueError) as error:  # ValueError: a redirect to what is no URL
            return Served(None, None, f"{url} gives no answer to a client ({type(error).__name__})")
    zone = reply.headers.get(inventory.service.zone_header)
    if reply.status_code != 200:
        return Served(None, reply.status_code, f"{url} answers a client with {reply.status_code}")
    if zone not in {z.name for z in inventory.zones}:
        problem = f"{url} does not say which zone answers: header {inventory.service.zone_header} is {zone!r}"
        return Served(None, 200, problem)
    return Served(zone, 200)


def _configured(inventory: Inventory, fleet: Fleet) -> Configured:
    from drillctl.gateway.kinds import gateway_of

    if missing := [host.name for host in inventory.gateway.hosts if host.name not in fleet.transports]:
        return Configured.unreachable(missing)
    try:
        config = gateway_of(inventory, fleet.transports, "status").read()
    except DrillctlError as error:
        return Configured(None, why(error), known=False)
    zone = config.configured_zone
    return Configured(zone, None if zone else config.reason or "no zone is configured")


def _host_problems(inventory: Inventory, host: HostSurvey) -> list[str]:
    expected = inventory.service.model.sha256
    found = [f"{host.name}: {host.problem}"] if host.problem else []
    if not host.health.ready and host.health.health != "unreachable":
        found.append(f"{host.name}: its health is {host.health.health}")
    if host.service is not None and host.service.held:
        found.append(f"{host.name}: a drill that did not end well keeps the server from being restarted")
    if host.sha256_disk not in {None, expected}:
        found.append(f"{host.name}: the model on disk is {host.sha256_disk}, pinned is {expected}")
    if host.sha256_loaded not in {None, expected}:
        found.append(f"{host.name}: the loaded model is {host.sha256_loaded}, pinned is {expected}")
    if host.health.ready and (wrong := wrong_role(host)):
        found.append(wrong)
    return found


def wrong_role(host: HostSurvey) -> str | None:
    """Return what is wrong with the role that a server says it has, or None."""
    wanted = "main" if host.role == "primary" else "backup"
    said = printable(host.info.get("service"), 80)
    if said != wanted or host.info.get("is_primary") is not (host.role == "primary"):
        return f"{host.name}: it says that it is `{said}`; the {host.role} must say `{wanted}` (SERVICE_NAME)"
    return None
