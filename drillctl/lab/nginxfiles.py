"""What the lab's gateway is configured with: the upstream in the style of the runbook, and the main file around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.gateway.nginx_adoption import adopt
from drillctl.inventory import NginxPassive
from drillctl.lab.estate import UPSTREAM

if TYPE_CHECKING:
    from pathlib import Path

    from drillctl.inventory import Nginx


def adopted(options: Nginx, *, listen: str, primary: str, standby: str) -> bytes:
    """Return the config of a gateway of some kind: what a person would write, made fit as `gateway adopt` does it."""
    access_log = f'"{options.access_log}"'
    passive = isinstance(options, NginxPassive)
    # One that fails over by itself gives a lost zone up before its clients give up, and before those that wait for it
    # are more than the other zone can take beside its own: 70 of them at 100 requests/s.
    connect, read = ("700ms", "700ms") if passive else ("1s", "5s")
    text = recognition(
        listen=listen, primary=primary, standby=standby, access_log=access_log, connect=connect, read=read
    )
    return adopt(text.encode(), options, [primary], [standby])


def recognition(
    *, listen: str, primary: str, standby: str, access_log: str, connect: str = "1s", read: str = "5s"
) -> str:
    """Return the config that sends clients to the primary; the standby's line is there, commented out.

    `connect` and `read` are how long nginx waits for a connection and for an answer.

    The zones fail over by a drill (or a person), not by nginx: `proxy_next_upstream off` keeps the two apart.
    """
    return f"""\
log_format {UPSTREAM} '$remote_addr [$time_iso8601] "$request" $status $body_bytes_sent '
                       'upstream=$upstream_addr upstream_status=$upstream_status '
                       'seconds=$request_time upstream_seconds=$upstream_response_time';

upstream {UPSTREAM} {{
    server {primary};
    # server {standby};
}}

server {{
    listen {listen};
    server_name _;
    access_log {access_log} {UPSTREAM};
    client_max_body_size 20m;

    location / {{
        proxy_pass http://{UPSTREAM};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_connect_timeout {connect};
        proxy_read_timeout {read};
        proxy_next_upstream off;
    }}
}}
"""


def main_of_machine(*, user: str) -> str:
    """Return /etc/nginx/nginx.conf of a gateway that is a machine."""
    return f"user {user};\npid /run/nginx.pid;\nerror_log /var/log/nginx/error.log;\n" + _main(
        "/etc/nginx/mime.types", "/etc/nginx/conf.d/*.conf", ()
    )


def main_of_process(folder: Path, *, user: str | None, mime_types: str) -> str:
    """Return the main file of a gateway that is a process: everything it writes lies in `folder`.

    `user` is for a master that runs as root; nginx warns about the directive otherwise.
    """
    places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = tuple(f'{name}_temp_path "{folder}/temporary/{name}";' for name in places)
    head = f"user {user};\n" if user else ""
    head += f'pid "{folder}/nginx.pid";\nerror_log "{folder}/log/error.log";\n'
    return head + _main(mime_types, f"{folder}/conf.d/*.conf", temporary)


def _main(mime_types: str, include: str, further: tuple[str, ...]) -> str:
    inner = "".join(f"    {line}\n" for line in further)
    return f"""\
worker_processes 2;
worker_shutdown_timeout 10s;

events {{
    worker_connections 1024;
}}

http {{
    include "{mime_types}";
    default_type application/octet-stream;
    sendfile on;
    server_tokens off;
    access_log off;
{inner}    include "{include}";
}}
"""
