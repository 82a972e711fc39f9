"""Forwarding through a real sshd: what goes in comes out at the server, and nothing is left open."""

from __future__ import annotations

import http.client
import http.server
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from drillctl.hosts.forward import Forward

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Sshd

    from drillctl.hosts.ssh import SshTransport

SIZE = 300_000


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers a POST with its body, on connections that stay open."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as made:
        made.daemon_threads = True
        threading.Thread(target=made.serve_forever).start()
        yield made
        made.shutdown()


def test_a_key_that_may_do_no_more_than_docs_say_is_enough(
    make_sshd: Callable[..., Sshd], server: http.server.ThreadingHTTPServer
) -> None:
    """docs/privileges.md: no terminal, so that nothing that root runs is at one."""
    sshd = make_sshd()
    keys = sshd.folder / "authorized_keys"
    keys.write_text("restrict,port-forwarding " + keys.read_text())
    transport = sshd.connect()
    assert transport.run(["echo", "it runs"]).text == "it runs"
    with Forward(transport, "127.0.0.1", server.server_address[1]) as forward:
        connection = http.client.HTTPConnection("127.0.0.1", forward.port, timeout=20)
        connection.request("POST", "/", body=b"it is forwarded")
        assert connection.getresponse().read() == b"it is forwarded"
        connection.close()
    transport.close()
    words = ["ssh", "-tt", "-p", str(sshd.port), "-i", str(sshd.key), "-o", f"UserKnownHostsFile={sshd.known_hosts}"]
    done = subprocess.run([*words, "-o", "BatchMode=yes", "127.0.0.1", "tty"], capture_output=True, check=False)
    assert b"PTY allocation request failed" in done.stderr


def test_many_requests_over_kept_connections_come_back_whole(
    host: SshTransport, server: http.server.ThreadingHTTPServer
) -> None:
    wrong: list[str] = []
    with Forward(host, "127.0.0.1", server.server_address[1]) as forward:

        def ask(letter: bytes) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", forward.port, timeout=20)
            for number in range(5):
                body = letter * (SIZE + number)
                connection.request("POST", "/", body=body)
                if connection.getresponse().read() != body:
                    wrong.append(f"{letter!r} {number}")
            connection.close()

        threads = [threading.Thread(target=ask, args=(letter,)) for letter in (b"a", b"b", b"c")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_server_that_is_not_there_closes_the_connection_and_says_why(host: SshTransport) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with Forward(host, "127.0.0.1", unused.getsockname()[1]) as forward:
            with socket.create_connection(("127.0.0.1", forward.port), 10) as wire:
                wire.settimeout(10)
                assert wire.recv(1) == b""
            assert forward.refused is not None
            assert "does not accept connections from here" in forward.refused


def test_nothing_listens_and_nothing_is_open_afterwards(
    host: SshTransport, server: http.server.ThreadingHTTPServer
) -> None:
    with Forward(host, "127.0.0.1", server.server_address[1]) as forward:
        kept = socket.create_connection(("127.0.0.1", forward.port), 10)
        kept.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nok")
        assert kept.recv(100).startswith(b"HTTP/1.1 200")
    kept.settimeout(10)
    while kept.recv(100):
        pass
    kept.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", forward.port), 1)
    assert host.alive(), "the connection that it went over is as it was"
