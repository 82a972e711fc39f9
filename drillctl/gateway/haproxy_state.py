"""What HAProxy says of a backend's servers at its runtime socket, and the commands that change it (pure).

`show servers state` (management.txt, 9.3; state file version 1) has a line for each server. Its admin state is a sum of
bits: 1 forced into maintenance at run time, 2 inherited, 4 was `disabled` in the config, 8 and 16 draining, 32 the name
does not resolve. A server that the config disables and the socket has made ready keeps the 4: it says nothing of now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from drillctl.errors import GatewayError
from drillctl.gateway.nginx_config import normalised

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

Admin = Literal["ready", "drain", "maint"]

_MAINT, _DRAIN = 1 | 2 | 32, 8 | 16
_CLIENT_ERRORS = ("No such", "Unknown", "Permission", "Require", "Can't", "Invalid")


@dataclass(frozen=True, slots=True)
class BackendServer:
    """One server of a backend: its name, its address as address:port (and by host name), what it is set to."""

    name: str
    address: str
    names: tuple[str, ...]
    admin: Admin


def read_servers(output: str, backend: str) -> tuple[BackendServer, ...]:
    """Return the servers that `show servers state` lists for a backend. Raises GatewayError when it lists none."""
    lines = [line for line in output.splitlines() if line.strip()]
    header = next((line for line in lines if line.startswith("# ")), None)
    if header is None:
        said = lines[0] if lines else "nothing"
        raise GatewayError(
            f"HAProxy did not list the servers of `{backend}`: it said `{said}`",
            hint="`gateway.backend` must be the name of the backend, and the socket of `level admin`",
        )
    columns = header.removeprefix("# ").split()
    servers = []
    for line in lines:
        values = dict(zip(columns, line.split(), strict=False))
        if line.startswith("#") or values.get("be_name") != backend:
            continue
        port = values["srv_port"]
        address = f"{values['srv_addr']}:{port}"
        bits = int(values["srv_admin_state"])
        admin: Admin = "maint" if bits & _MAINT else "drain" if bits & _DRAIN else "ready"
        host = values.get("srv_fqdn", "-")
        names = (address, values["srv_name"], *([] if host == "-" else [f"{host}:{port}"]))
        servers.append(BackendServer(values["srv_name"], address, names, admin))
    if not servers:
        raise GatewayError(f"HAProxy's backend `{backend}` has no server")
    return tuple(servers)


def servers_of(servers: Iterable[BackendServer], addresses: Collection[str]) -> tuple[BackendServer, ...]:
    """Return the servers of a zone by their addresses, or names, as the inventory has them. Raises GatewayError."""
    found = []
    known = list(servers)
    for address in addresses:
        wanted = normalised(address)
        one = next((s for s in known if address in s.names or wanted in map(normalised, s.names)), None)
        if one is None:
            there = ", ".join(f"{s.name} {s.address}" for s in known)
            raise GatewayError(
                f"no server of the backend has the address {address}; there are: {there}",
                hint="the inventory's `upstream` of a host must be the server's address:port, or its name",
            )
        found.append(one)
    return tuple(found)


def in_words(servers: Iterable[BackendServer]) -> str:
    """Return what the servers are set to, as one line; `from_words` reads it back."""
    return " ".join(f"{server.name}={server.admin}" for server in servers)


def from_words(words: str) -> dict[str, Admin]:
    """Return what each server was set to."""
    states: dict[str, Admin] = {}
    for word in words.split():
        name, _, state = word.rpartition("=")
        if state == "ready":
            states[name] = "ready"
        elif state == "drain":
            states[name] = "drain"
        else:
            states[name] = "maint"
    return states


def commands(backend: str, states: Mapping[str, Admin]) -> str:
    """Return the line that sets the servers: those to serve first, so that at no moment nobody does."""
    ordered = sorted(states.items(), key=lambda item: (item[1] != "ready", item[0]))
    return "; ".join(f"set server {backend}/{name} state {state}" for name, state in ordered)


def complaint(output: str) -> str | None:
    """Return the first line in which HAProxy says that it did not do what it was told; None when it did."""
    return next((line for line in output.splitlines() if line.startswith(_CLIENT_ERRORS)), None)


def answers(stat: str, backend: str) -> dict[str, int]:
    """Return how many HTTP answers each server of a backend has given, from `show stat` (CSV)."""
    lines = stat.splitlines()
    header = next((line for line in lines if line.startswith("# ")), "")
    columns = header.removeprefix("# ").split(",")
    counted = {}
    for line in lines:
        values = dict(zip(columns, line.split(","), strict=False))
        if values.get("pxname") == backend and values.get("svname") not in {"BACKEND", "FRONTEND", None}:
            kinds = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
            counted[values["svname"]] = sum(int(values.get(f"hrsp_{kind}") or 0) for kind in kinds)
    return counted


def missing_in_config(text: str, state_file: str) -> list[str]:
    """Return what keeps HAProxy from taking the servers' states over a reload, in words."""
    words = [line.split("#")[0].split() for line in text.splitlines()]
    found = []
    named = [line[1] for line in words if len(line) > 1 and line[0] == "server-state-file"]
    base = next((line[1] for line in words if len(line) > 1 and line[0] == "server-state-base"), "")
    paths = [path if path.startswith(("/", "./")) or not base else f"{base.rstrip('/')}/{path}" for path in named]
    if state_file not in paths:
        found.append(f"no `server-state-file {state_file}` in its global section")
    if not any(line[:2] == ["load-server-state-from-file", "global"] for line in words):
        found.append("no `load-server-state-from-file global`")
    return found
