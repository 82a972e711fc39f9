"""`drillctl status` and `gateway show` where the gateway does not let itself be asked: what is unknown is not said."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Ended

UNKNOWN = "what the gateway is configured for is unknown: gateway cannot be reached"


@contextmanager
def gateway_that_answers(status: int, zone: str) -> Iterator[str]:
    """Yield the URL of a server that gives the same answer to every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("X-Served-Zone", zone)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "zone", "said"),
    [
        (404, "zone-a", "a client is answered with 404"),
        (200, "elsewhere", "a client is answered with 200, by no zone that is known"),
        (200, "zone-a", "zone-a answers"),
    ],
)
def test_what_a_client_gets_is_told_from_what_cannot_be_known(
    drillctl: Callable[..., Ended], dead_estate: Path, status: int, zone: str, said: str
) -> None:
    with gateway_that_answers(status, zone) as url:
        dead_estate.write_text(dead_estate.read_text().replace("url: http://127.0.0.1", f"url: {url}"))
        ended = drillctl("status", "-i", "inventory.yaml")
        document = json.loads(drillctl("status", "-i", "inventory.yaml", "--json").out)
        seen = json.loads(drillctl("watch", "-i", "inventory.yaml", "--once", "--no-store", "--json").out)
    assert ended.code == 4, ended.err
    assert f"\n{UNKNOWN}; {said}\n" in ended.out
    for gateway in (document["gateway"], seen["gateway"]):
        assert gateway["configured_zone"] is None
        assert gateway["configured_known"] is False
        assert gateway["configured_reason"] == "gateway cannot be reached"
        assert gateway["serving_zone"] == ("zone-a" if said == "zone-a answers" else None)
        assert gateway["serving_status"] == status


def test_no_answer_at_all_is_said_as_such(drillctl: Callable[..., Ended], dead_estate: Path) -> None:
    with gateway_that_answers(200, "zone-a") as url:
        gone = url
    dead_estate.write_text(dead_estate.read_text().replace("url: http://127.0.0.1", f"url: {gone}"))
    assert f"\n{UNKNOWN}; a client gets no answer\n" in drillctl("status", "-i", "inventory.yaml").out
    document = json.loads(drillctl("status", "-i", "inventory.yaml", "--json").out)
    assert document["gateway"]["serving_status"] is None


def test_the_zone_of_a_gateway_host_that_cannot_be_reached_is_unknown(
    drillctl: Callable[..., Ended], dead_estate: Path
) -> None:
    ended = drillctl("gateway", "show", "-i", "inventory.yaml")
    assert ended.code == 4
    assert "gateway: /etc/nginx/conf.d/recognition.conf: where clients go is unknown\n" in ended.out
    assert "no single zone" not in ended.out
    document = json.loads(drillctl("gateway", "show", "-i", "inventory.yaml", "--json").out)
    assert [(host["configured_zone"], host["configured_known"]) for host in document["hosts"]] == [(None, False)]
