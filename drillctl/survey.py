"""What every zone host says of itself now, for `drillctl status` and the steady state. Changes nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from drillctl.errors import CommandFailed, DrillctlError, HostError
from drillctl.hosts import http
from drillctl.hosts.service import ServiceState, manager_of
from drillctl.printable import printable

if TYPE_CHECKING:
    from drillctl.hosts.fleet import Fleet
    from drillctl.hosts.transport import Transport
    from drillctl.inventory import Host, Inventory

HASH_TIMEOUT = 120.0
"""Seconds to hash the model file on a host; 628 MB take about 2 s on a slow core."""

LONGEST_UPTIME = 1e10
"""Seconds, three centuries; a longer one is no uptime."""


@dataclass(frozen=True)
class Health:
    """What a server says of its health: its word, whether it is ready, its uptime (seconds), why it is not ready."""

    health: str = "unreachable"
    ready: bool = False
    uptime_sec: float | None = None
    reason: str | None = None

    def __str__(self) -> str:
        """Return it in words."""
        return f"its health is `{self.health}`" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Info:
    """What a server publishes of itself: the whole document, its device, and the sha256 of the model that it loaded.

    `problem` says what of it cannot be understood.
    """

    document: dict[str, Any]
    device: str | None = None
    sha256: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class HostSurvey:
    """One zone host. What it did not tell is None; `problem` says why it could not be asked."""

    name: str
    zone: str
    role: str
    address: str
    model_path: str
    health: Health = Health()
    device: str | None = None
    sha256_disk: str | None = None
    sha256_loaded: str | None = None
    service: ServiceState | None = None
    info: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


def survey(inventory: Inventory, fleet: Fleet, host: Host, *, hash_model: bool = True) -> HostSurvey:
    """Ask one zone host. Its own trouble is in the result, not an exception."""
    zone = next(zone for zone in inventory.zones if host in zone.hosts)
    about: dict[str, Any] = {
        "name": host.name,
        "zone": zone.name,
        "role": zone.role,
        "address": host.address,
        "model_path": inventory.model_path(host),
    }
    transport = fleet.transports.get(host.name)
    if transport is None:
        return HostSurvey(**about, problem="not connected")
    problems: list[str] = []
    found: dict[str, Any] = {}
    try:
        found["service"] = manager_of(inventory, host, transport).state()
    except HostError as error:
        problems.append(error.message)
    if hash_model:
        try:
            found["sha256_disk"] = model_hash(transport, inventory.model_path(host))
        except HostError as error:
            problems.append(error.message)
    try:
        health = ask(inventory, fleet, host, inventory.service.paths.health)
        found["health"] = read_health(health)
        info = read_info(ask(inventory, fleet, host, inventory.service.paths.info))
        found |= {"info": info.document, "device": info.device, "sha256_loaded": info.sha256}
        problems += [info.problem] if info.problem else []
    except HostError as error:
        problems.append(error.message)
    return HostSurvey(**about, **found, problem="; ".join(problems) or None)


def ask(inventory: Inventory, fleet: Fleet, host: Host, path: str, timeout: float = 5.0) -> http.Reply:
    """GET a path of a host's server the way the gateway would: from a gateway host, at its upstream address.

    Without a gateway host that answers, the server is asked from its own host. Raises Unreachable or HostError.
    """
    transport, address, port = way_to(inventory, fleet, host)
    return http.request(transport, address, port, path, timeout=timeout)


def way_to(inventory: Inventory, fleet: Fleet, host: Host) -> tuple[Transport, str, int]:
    """Return from where, and at which address and port, a host's server is asked."""
    address, _, port = inventory.upstream(host).rpartition(":")
    if not address or not port.isdigit():
        address, port = inventory.upstream(host), str(inventory.port(host))
    answering = fleet.transports.keys() - fleet.lost
    gateway = next((fleet.transports[g.name] for g in inventory.gateway.hosts if g.name in answering), None)
    return gateway or fleet[host], address.strip("[]"), int(port)


def read_health(reply: http.Reply) -> Health:
    """Read an answer of the health endpoint."""
    document = reply.json()
    return Health(
        health=printable(document.get("status", f"HTTP {reply.status}")),
        ready=reply.status == 200,
        uptime_sec=_uptime(document.get("uptime_sec")),
        reason=printable(document["reason"]) if document.get("reason") else None,
    )


def _uptime(said: object) -> float | None:
    """Return seconds; None for what cannot be any, such as true, NaN or a number of 400 digits."""
    if isinstance(said, bool) or not isinstance(said, (int, float)) or not 0 <= said <= LONGEST_UPTIME:
        return None
    return float(said)


def read_info(reply: http.Reply) -> Info:
    """Read an answer of the info endpoint: whatever it says, what is not of its kind is not known."""
    document = reply.json()
    device, model = document.get("device"), document.get("model")
    said = model.get("sha256") if isinstance(model, dict) else None
    sha256 = said.lower() if isinstance(said, str) and _is_sha256(said.lower()) else None
    return Info(
        document,
        device=printable(device) if isinstance(device, str) else None,
        sha256=sha256,
        problem=None if said is None or sha256 else f"its server gives `{printable(said, 80)}` for the model's sha256",
    )


def model_hash(transport: Transport, path: str) -> str:
    """Return the sha256 of a file on a host, in lower-case hex. Raises CommandFailed when it cannot be read."""
    text = transport.run(
        ["sha256sum", "--", path], timeout=HASH_TIMEOUT, called=f"hashing {path}", privileged=True
    ).text
    # GNU sha256sum puts a backslash first when the file's name needs one.
    digest = text.lstrip("\\").split(" ", 1)[0].lower()
    if not _is_sha256(digest):
        raise CommandFailed(f"hashing {path} said `{text[:80]}`", host=transport.host)
    return digest


def _is_sha256(text: str) -> bool:
    return re.fullmatch("[0-9a-f]{64}", text) is not None


def machine_facts(transport: Transport) -> tuple[str, str]:
    """Return a host's machine-id and boot-id. Raises HostError."""
    text = transport.script(
        "reading machine-id and boot-id", "cat /etc/machine-id && cat /proc/sys/kernel/random/boot_id"
    ).text
    try:
        machine, boot = text.split()
    except ValueError:
        raise CommandFailed(f"machine-id and boot-id read as `{text[:120]}`", host=transport.host) from None
    return machine, boot


def why(error: DrillctlError) -> str:
    """Return an error with its hint, in one line."""
    return f"{error}; {error.hint}" if error.hint else str(error)
