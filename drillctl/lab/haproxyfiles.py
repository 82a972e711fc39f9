"""What the lab's gateway is configured with when it is HAProxy: the file that a person would write for two zones.

It holds everything that docs/gateway.md says a drill needs: the runtime socket, the state file with its loading, bounds
for every wait, and the fallback body for clients when no zone answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.gateway.nginx_adoption import FALLBACK
from drillctl.lab.estate import UPSTREAM, ZONES

if TYPE_CHECKING:
    from collections.abc import Mapping


def fallback() -> str:
    """Return the raw HTTP answer of an `errorfile` (configuration.txt, 4.2): clients get it when no zone answers."""
    head = [
        "HTTP/1.1 503 Service Unavailable",
        "Content-Type: application/json",
        "Cache-Control: no-store",
        "Retry-After: 1",
        f"Content-Length: {len(FALLBACK)}",
        "Connection: close",
    ]
    return "\r\n".join([*head, "", FALLBACK])


def config(
    *, listen: str, addresses: Mapping[str, str], folder: str, socket: str, state_file: str, user: str | None
) -> str:
    """Return haproxy.cfg: `addresses` are those of the zones' servers by host name; the standby begins in maintenance.

    `user` is for a master that runs as root; `folder` holds the fallback's file.
    """
    primary, standby = (zone.host for zone in ZONES)
    owner = f"    user {user}\n    group {user}\n" if user else ""
    return f"""\
global
{owner}    stats socket {socket} mode 600 level admin
    server-state-file {state_file}

defaults
    mode http
    timeout connect 1s
    timeout client 30s
    timeout server 5s
    retries 0
    load-server-state-from-file global
    # 503: no server is ready, or none could be reached. 502, 504: one was, and broke off or did not answer in time.
    errorfile 502 {folder}/fallback.http
    errorfile 503 {folder}/fallback.http
    errorfile 504 {folder}/fallback.http

frontend clients
    bind {listen}
    default_backend {UPSTREAM}

backend {UPSTREAM}
    server {primary} {addresses[primary]}
    server {standby} {addresses[standby]} disabled
"""
