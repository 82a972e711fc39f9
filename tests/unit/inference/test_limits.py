"""Limits around an upload, met over real sockets on uvicorn with a small application."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import uvicorn

from inference import limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Receive, Scope, Send

POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 413 at once, whatever is sent."""
    if scope["type"] == "lifespan":
        return
    await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"no"})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of a server with short limits."""
    patch = pytest.MonkeyPatch()
    patch.setattr(limits, "HEAD_SECONDS", 0.4)
    patch.setattr(limits, "DROP_SECONDS", 0.4)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        refuse,
        http=limits.LimitedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        headers=[("X-Served-Zone", "z")],
        timeout_keep_alive=30,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join()
    patch.undo()


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(10)
        yield client


def until_closed(client: socket.socket) -> bytes:
    """What the server says before it closes the connection."""
    return b"".join(iter(lambda: client.recv(65536), b""))


def answer(client: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"no"):
        chunk = client.recv(65536)
        assert chunk, received
        received += chunk
    return received


def test_a_connection_that_never_asks_is_closed(port: int) -> None:
    with connected(port) as client:
        started = time.monotonic()
        assert until_closed(client) == b""
        assert 0.3 < time.monotonic() - started < 5


def test_a_head_that_trickles_in_is_ended_with_408(port: int) -> None:
    with connected(port) as client:
        said = b""
        client.settimeout(0.05)
        for byte in GET[:-4] * 20:
            client.sendall(bytes([byte]))
            try:
                said += client.recv(65536)
            except TimeoutError:
                continue
            break
        client.settimeout(10)
        said += until_closed(client)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"x-served-zone: z\r\n" in said
    assert b'"error":"too_slow"' in said


def test_a_second_request_on_a_connection_has_the_same_limit(port: int) -> None:
    with connected(port) as client:
        client.sendall(GET)
        answer(client)
        client.sendall(b"\r\nGET")
        assert until_closed(client).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"y" * 40_000 + b"\r\n\r\n",
        b"GET /" + b"y" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: y\r\n" * 12_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"y" * 400_000,
    ],
    ids=["one field", "path", "many fields", "no end"],
)
def test_a_head_that_is_too_large_is_ended_with_431(port: int, head: bytes) -> None:
    with connected(port) as client:
        try:
            client.sendall(head)
            said = until_closed(client)
        except ConnectionError:
            return  # cut off while it still sent: that ends it as well
    assert said.startswith(b"HTTP/1.1 431 ")
    assert b"yyyy" not in said


@pytest.mark.parametrize("line", [b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET /\xff HTTP/1.1\r\n\r\n"])
def test_what_is_not_http_gets_400_as_json_with_the_zone_and_nothing_repeated(port: int, line: bytes) -> None:
    with connected(port) as client:
        client.sendall(line)
        said = until_closed(client)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"x-served-zone: z\r\n" in said
    assert b'"error":"malformed_request"' in said


def test_what_is_left_of_a_refused_body_is_dropped_and_the_connection_goes_on(port: int) -> None:
    with connected(port) as client:
        size = 20 << 20
        client.sendall(POST % size + b"\r\n")
        assert answer(client).startswith(b"HTTP/1.1 413 ")
        client.sendall(bytes(size))
        client.sendall(GET)
        assert answer(client).startswith(b"HTTP/1.1 413 ")


def test_a_hopeless_body_closes_the_connection_after_the_answer(port: int) -> None:
    with connected(port) as client:
        client.sendall(POST % 10**12 + b"\r\n")
        assert until_closed(client).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_asked_before_it_sends_is_not_waited_for(port: int) -> None:
    with connected(port) as client:
        client.sendall(POST % 5000 + b"Expect: 100-continue\r\n\r\n")
        assert until_closed(client).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_nobody_reads_any_more_has_a_time_limit(port: int) -> None:
    with connected(port) as client:
        client.sendall(POST % 5000 + b"\r\n")
        answer(client)
        client.sendall(b"x")
        assert until_closed(client) == b""


def test_an_endless_body_is_cut_off(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_DROP", 1 << 20)
    with connected(port) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        endless = (b"10000\r\n" + bytes(65536) + b"\r\n") * 3000
        with pytest.raises(ConnectionError):
            client.sendall(endless)
