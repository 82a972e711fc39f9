"""The estate that every lab has, whatever its driver: a gateway and two zones of one host each, as an inventory."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from pydantic import TypeAdapter

from drillctl.inventory import (
    Gateway,
    GatewayKind,
    Host,
    InstalledFault,
    Inventory,
    Model,
    Privileges,
    ProcessStart,
    Role,
    Service,
    SshOptions,
    SystemdStart,
    Waiver,
    Zone,
)
from drillctl.lab.sshfiles import KNOWN_HOSTS, LOGIN_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

GATEWAY = "gateway"
UPSTREAM = "recognition"
SERVICE_PORT = 8080
INVENTORY = "inventory.yaml"


@dataclass(frozen=True)
class ZonePlan:
    """One zone of the lab: its name, its role, what it says it fails with, and its only host."""

    name: str
    role: Role
    failure_domain: str
    host: str

    @property
    def service_name(self) -> str:
        """Return SERVICE_NAME of the server in this zone."""
        return "main" if self.role == "primary" else "backup"


ZONES = (
    ZonePlan("zone-a", "primary", "rack-a", "zone-a-1"),
    ZonePlan("zone-b", "standby", "rack-b", "zone-b-1"),
)
HOSTS = (GATEWAY, *(zone.host for zone in ZONES))


def gateway(
    kind: GatewayKind,
    *,
    hosts: tuple[Host, ...],
    url: str,
    nginx: Mapping[str, object],
    haproxy: Mapping[str, object],
) -> Gateway:
    """Return the gateway's part of the inventory; of `nginx` and `haproxy`, options of their own, one is used."""
    common: dict[str, object] = {"kind": kind, "hosts": hosts, "url": url}
    own = {"backend": UPSTREAM, **haproxy} if kind == "haproxy" else {"upstream": UPSTREAM, **nginx}
    return TypeAdapter(Gateway).validate_python({**common, **own})


def zone_of(host: str) -> ZonePlan | None:
    """Return the zone of a host; None for the gateway."""
    return next((zone for zone in ZONES if zone.host == host), None)


def inventory(
    *,
    driver: str,
    hosts: Mapping[str, Host],
    gateway: Gateway,
    start: SystemdStart | ProcessStart,
    model: Model,
    user: str,
    privileges: Privileges = "login",
    waivers: tuple[Waiver, ...] = (),
) -> Inventory:
    """Return the lab's inventory; key and known_hosts lie beside the file that it is written to."""
    return Inventory(
        name=f"lab-{driver}",
        environment="lab",
        ssh=SshOptions(
            user=user,
            key=Path(LOGIN_KEY),
            known_hosts=Path(KNOWN_HOSTS),
            privileges=None if privileges == "login" else privileges,
        ),
        zones=tuple(
            Zone(name=zone.name, role=zone.role, failure_domain=zone.failure_domain, hosts=(hosts[zone.host],))
            for zone in ZONES
        ),
        service=Service(port=SERVICE_PORT, model=model, start=start),
        gateway=gateway,
        waivers=waivers,
        faults=get_args(InstalledFault) if privileges == "installed" else (),
    )


def as_yaml(document: Inventory) -> str:
    """Return an inventory as the YAML file that a person would write: nothing that is a default."""
    from ruamel.yaml import YAML

    writer = YAML()
    writer.default_flow_style = False
    writer.width = 10_000
    text = io.StringIO()
    text.write("# Written by `drillctl lab up`; gone after `drillctl lab down`.\n")
    writer.dump(document.model_dump(mode="json", exclude_defaults=True), text)
    return text.getvalue()
