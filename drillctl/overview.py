"""The state of a whole estate at one moment: both zones, the gateway, and everything that is not well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests

from drillctl.errors import DrillctlError
from drillctl.hosts.fleet import connect_all, each
from drillctl.printable import printable
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
    configured_zone: str | None
    serving_zone: str | None
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
                "configured_zone": self.configured_zone,
                "serving_zone": self.serving_zone,
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
        configured, gateway_problems = _configured(inventory, fleet)
    serving, serving_problem = serving_zone(inventory)
    problems = [why(error) for error in errors.values()]
    problems += gateway_problems + ([serving_problem] if serving_problem else [])
    for host in zone_hosts:
        if host.name not in errors:
            problems += _host_problems(inventory, found[host.name])
    primary = inventory.zone("primary").name
    if configured is not None and configured != primary:
        problems.append(f"the gateway is configured for {configured}, not for the primary {primary}")
    if configured is not None and serving is not None and serving != configured:
        problems.append(
            f"{serving} answers, but the gateway is configured for {configured}: {_WHY[inventory.gateway.kind]}"
        )
    return Overview(
        hosts=tuple(found[host.name] for host in zone_hosts),
        configured_zone=configured,
        serving_zone=serving,
        gateways={host.name: host.name not in errors for host in inventory.gateway.hosts},
        problems=tuple(dict.fromkeys(problems)),
    )


def serving_zone(inventory: Inventory) -> tuple[str | None, str | None]:
    """Ask through the gateway, as a client; return the zone that answered, and what is wrong if it is none of ours."""
    url = inventory.gateway.url.rstrip("/") + inventory.service.paths.info
    with requests.Session() as session:
        session.trust_env = False
        try:
            reply = session.get(url, timeout=5)
        except (requests.RequestException, ValueError) as error:  # ValueError: a redirect to what is no URL
            return None, f"{url} gives no answer to a client ({type(error).__name__})"
    zone = reply.headers.get(inventory.service.zone_header)
    if reply.status_code != 200:
        return None, f"{url} answers a client with {reply.status_code}"
    if zone not in {z.name for z in inventory.zones}:
        return None, f"{url} does not say which zone answers: header {inventory.service.zone_header} is {zone!r}"
    return zone, None


def _configured(inventory: Inventory, fleet: Fleet) -> tuple[str | None, list[str]]:
    from drillctl.gateway.kinds import gateway_of

    if any(host.name not in fleet.transports for host in inventory.gateway.hosts):
        return None, []
    try:
        config = gateway_of(inventory, fleet.transports, "status").read()
    except DrillctlError as error:
        return None, [why(error)]
    return config.configured_zone, [] if config.configured_zone else [config.reason or "no zone is configured"]


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
