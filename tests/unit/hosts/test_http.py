"""HTTP through a host's own SSH connection, asked of a real server behind a real sshd."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from drillctl.errors import HostError, NoAnswer, Unreachable
from drillctl.hosts import http
from drillctl.hosts.local import LocalTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Sshd

    from drillctl.hosts.ssh import SshTransport

MIB = 1 << 20


class Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body = {
            "/health": (200, b'{"status": "healthy"}'),
            "/large": (200, bytes(3 * MIB)),
            "/huge": (200, bytes(http.MAX_BODY + 1)),
            "/list": (200, b"[1]"),
            "/broken": (503, b"\xff"),
        }[self.path]
        self._answer(status, body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, body + self.headers["Content-Type"].encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Served-Zone", "zone-a")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def test_http_is_spoken_through_the_hosts_own_connection(host: SshTransport, web: int) -> None:
    reply = http.request(host, "127.0.0.1", web, "/health")
    assert (reply.status, reply.json(), reply.headers["x-served-zone"]) == (200, {"status": "healthy"}, "zone-a")
    posted = http.request(host, "127.0.0.1", web, "/predict", body=b"image ", content_type="image/jpeg")
    assert posted.body == b"image image/jpeg"


def test_an_answer_arrives_whole_though_the_server_closes_the_connection_after_it(host: SshTransport, web: int) -> None:
    assert len(http.request(host, "127.0.0.1", web, "/large", timeout=30).body) == 3 * MIB


def test_an_answer_that_is_cut_off_is_no_answer(host: SshTransport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Unreachable, match="was cut off, 7 bytes before its end"):
            http.request(host, "127.0.0.1", port, "/health")
        thread.join()


def test_an_answer_that_is_no_json_object_is_an_empty_one(host: SshTransport, web: int) -> None:
    assert http.request(host, "127.0.0.1", web, "/list").json() == {}
    reply = http.request(host, "127.0.0.1", web, "/broken")
    assert (reply.status, reply.json()) == (503, {})


def test_an_answer_beyond_all_measure_is_refused(host: SshTransport, web: int) -> None:
    with pytest.raises(Unreachable, match="answers with more than 8 MiB"):
        http.request(host, "127.0.0.1", web, "/huge", timeout=30)


def test_a_port_that_nothing_listens_on_is_told(host: SshTransport) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(Unreachable, match=f"127.0.0.1:{port} does not accept connections from here"):
            host.open_tcp("127.0.0.1", port, 5)


def test_a_server_that_accepts_and_never_answers_has_its_deadline(host: SshTransport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        begun = time.monotonic()
        with pytest.raises(Unreachable, match=rf"127.0.0.1:{port}/health gave no answer"):
            http.request(host, "127.0.0.1", port, "/health", timeout=0.5)
        assert time.monotonic() - begun < 3


@pytest.mark.parametrize("dripping", ["head", "body"])
@pytest.mark.parametrize("by_ssh", [True, False])
def test_a_server_that_drips_its_answer_has_its_deadline_as_a_whole(
    host: SshTransport, dripping: str, *, by_ssh: bool
) -> None:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            peer, _ = listener.accept()
            with peer, contextlib.suppress(OSError):
                peer.recv(1000)
                peer.sendall(b"HTTP/1.1 200 OK\r\n" + (b"Content-Length: 1000\r\n\r\n" if dripping == "body" else b""))
                while not over.wait(0.1):
                    peer.sendall(b"x")

        thread = threading.Thread(target=answer)
        thread.start()
        begun = time.monotonic()
        with pytest.raises(NoAnswer, match=rf"127.0.0.1:{port}/health gave no answer \(.*timed out"):
            http.request(host if by_ssh else LocalTransport("here"), "127.0.0.1", port, "/health", timeout=0.5)
        assert time.monotonic() - begun < 3
        over.set()
        thread.join()


def test_an_sshd_that_forbids_forwarding_is_told_with_what_to_do(make_sshd: Callable[..., Sshd], web: int) -> None:
    transport = make_sshd("AllowTcpForwarding no").connect()
    with pytest.raises(HostError, match="its sshd forbids forwarding") as caught:
        transport.open_tcp("127.0.0.1", web, 5)
    assert "AllowTcpForwarding local" in (caught.value.hint or "")
    transport.close()
