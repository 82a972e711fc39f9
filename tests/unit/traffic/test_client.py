"""The prober's client, against a real server that answers, closes and breaks off as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable

import h11
import pytest
from file_server import file_server

from drillctl.traffic.client import Answer, Client, Closed, kind_of

GOOD = b"HTTP/1.1 200 OK\r\nX-Served-Zone: a\r\nX-Served-Host: a-1\r\nContent-Length: 2\r\n\r\n{}"
BODY = b"image"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers every request with the next of the given bytes; the last one is repeated. `close`: after each answer."""

    def __init__(self, *answers: bytes, close: bool = False, reset: bool = False) -> None:
        self._answers = list(answers)
        self._close, self._reset = close, reset
        self.heads: list[bytes] = []
        self.connections = 0
        self.port = 0
        self.open: list[asyncio.StreamWriter] = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for writer in self.open:
            writer.close()
        self._server.close()

    def client(self, *, keep: bool = True, name: str = "127.0.0.1") -> Client:
        return Client(
            f"http://{name}:{self.port}/predict", keep=keep, zone_header="X-Served-Zone", host_header="X-Served-Host"
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                await reader.readexactly(len(BODY))
                writer.write(self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])
                await writer.drain()
                if self._reset:
                    raw = writer.get_extra_info("socket")
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if self._close or self._reset:
                    writer.close()
                    return


async def post(client: Client, seconds: float = 5.0) -> Answer:
    return await client.post({"Content-Type": "image/jpeg"}, BODY, until=time.monotonic() + seconds)


def against(server: Server, requests: int = 1, *, keep: bool = True, seconds: float = 5.0) -> list[Answer]:
    async def all_of_them() -> list[Answer]:
        async with server:
            client = server.client(keep=keep)
            answers = [await post(client, seconds) for _ in range(requests)]
            client.close()
            return answers

    return asyncio.run(all_of_them())


def test_answer_is_read_with_who_gave_it():
    server = Server(GOOD)
    (answer,) = against(server)
    assert (answer.status, answer.error, answer.zone, answer.host, answer.body) == (200, None, "a", "a-1", b"{}")
    assert 0 <= time.monotonic() - answer.done < 5
    head = server.heads[0].decode()
    assert head.startswith("POST /predict HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{server.port}\r\n" in head
    assert "Content-Type: image/jpeg\r\n" in head
    assert "Content-Length: 5\r\n" in head


def test_kept_connection_is_used_again():
    server = Server(GOOD)
    assert all(answer.error is None for answer in against(server, 5))
    assert server.connections == 1


def test_fresh_connection_is_used_once_and_says_so():
    server = Server(GOOD)
    assert all(answer.error is None for answer in against(server, 3, keep=False))
    assert server.connections == 3
    assert all(b"Connection: close\r\n" in head for head in server.heads)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_connection_that_the_server_will_close_is_not_used_again(answer):
    server = Server(answer)
    assert all(answer.error is None for answer in against(server, 3))
    assert server.connections == 3


@pytest.mark.parametrize("closed_by", ["end", "unasked words"])
def test_connection_that_was_closed_before_the_request_is_not_used(closed_by):
    """The event loop is kept from hearing of it: a client that trusts its loop writes, and loses the request."""

    async def scene() -> tuple[Answer, Answer, int]:
        async with Server(GOOD) as server:
            client = server.client()
            first = await post(client)
            if closed_by == "end":
                server.open[0].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            else:
                server.open[0].write(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
            second = await post(client)
            client.close()
            return first, second, server.connections

    first, second, connections = asyncio.run(scene())
    assert (first.error, second.error, second.status) == (None, None, 200)
    assert connections == 2


def test_what_nobody_asked_for_ends_a_kept_connection_and_no_request():
    """Unlike above the event loop hears of it before the next request."""

    async def scene() -> tuple[Answer, int]:
        async with Server(GOOD) as server:
            client = server.client()
            await post(client)
            server.open[0].write(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
            await asyncio.sleep(0.1)
            answer = await post(client)
            client.close()
            return answer, server.connections

    answer, connections = asyncio.run(scene())
    assert (answer.status, answer.error, connections) == (200, None, 2)


@pytest.mark.parametrize("more", [b"\r\n", b"HTTP/1.1 200 OK\r\nX-Served-Zone: b\r\nContent-Length: 2\r\n\r\n[]"])
def test_what_comes_behind_an_answer_is_no_answer_to_the_next_request(more):
    server = Server(GOOD + more, GOOD)
    answers = against(server, 2)
    assert [(answer.error, answer.zone, answer.body) for answer in answers] == [(None, "a", b"{}")] * 2
    assert server.connections == 2


def test_whatever_goes_wrong_there_is_an_answer(monkeypatch):
    def broken(*_: object) -> None:
        raise AttributeError("a bug in a library")

    monkeypatch.setattr(h11.Connection, "receive_data", broken)
    (answer,) = against(Server(GOOD))
    assert (answer.status, answer.error) == (None, "other:AttributeError")


@pytest.mark.parametrize(("how", "kind"), [("close", "closed"), ("reset", "reset")])
def test_connection_that_is_closed_after_the_request_loses_it_and_nothing_is_sent_twice(how, kind):
    server = Server(b"", **{how: True})
    (answer,) = against(server)
    assert (answer.status, answer.error) == (None, kind)
    assert len(server.heads) == 1


def test_answer_that_is_cut_off_has_a_status_and_an_error():
    (answer,) = against(Server(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{", close=True))
    assert (answer.status, answer.error) == (200, "closed")


def test_answer_may_end_with_the_connection():
    (answer,) = against(Server(b"HTTP/1.1 200 OK\r\n\r\n{}", close=True))
    assert (answer.status, answer.error, answer.body) == (200, None, b"{}")


def test_answer_may_come_in_chunks_and_after_others_that_do_not_count():
    early = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
    server = Server(early + chunks)
    assert [answer.body for answer in against(server, 2)] == [b"{}", b"{}"]
    assert server.connections == 1


def test_what_is_no_http_is_no_answer():
    (answer,) = against(Server(b"220 mail.example ready\r\n\r\n"))
    assert (answer.status, answer.error) == (None, "other:RemoteProtocolError")


def test_answer_that_does_not_come_in_time_is_given_up_with_its_connection():
    server = Server(b"", GOOD)
    late, good = against(server, 2, seconds=0.2)
    assert (late.error, good.error) == ("timeout", None)
    assert server.connections == 2


@pytest.mark.parametrize("trusted", [True, False])
def test_server_with_tls_is_believed_if_its_certificate_is_trusted(tmp_path, monkeypatch, trusted):
    folder = tmp_path / "folder"
    folder.mkdir()
    with file_server(folder, tmp_path) as server:
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
        client = Client(server.url, keep=True, zone_header="Z", host_header="H")
        answer = asyncio.run(post(client))
    # It knows no POST, and says so.
    assert (answer.status, answer.error) == ((501, None) if trusted else (None, "tls"))


def test_name_is_looked_up_once_for_many_requests(monkeypatch):
    asked = []
    real = socket.getaddrinfo

    def counted(*arguments, **options):
        asked.append(arguments[0])
        return real(*arguments, **options)

    async def scene() -> list[Answer]:
        async with Server(GOOD) as server:
            client = server.client(keep=False, name="localhost")
            monkeypatch.setattr(socket, "getaddrinfo", counted)
            return await asyncio.gather(*(post(client) for _ in range(5)))

    assert [answer.error for answer in asyncio.run(scene())] == [None] * 5
    assert asked == ["localhost"]


def test_name_without_an_address_is_an_error_of_its_own():
    client = Client("http://nowhere.invalid/predict", keep=True, zone_header="Z", host_header="H")
    assert asyncio.run(post(client)).error == "dns"


@pytest.mark.parametrize(
    ("url", "host", "target"),
    [
        ("http://gateway.example/predict", "gateway.example", b"/predict"),
        ("http://gateway.example:8080", "gateway.example:8080", b"/"),
        ("https://gateway.example:443/a?b=c", "gateway.example", b"/a?b=c"),
        ("http://[::1]:8080/ä b", "[::1]:8080", b"/%C3%A4%20b"),
        ("http://bücher.example/", "xn--bcher-kva.example", b"/"),
    ],
)
def test_address_is_taken_apart_as_http_wants_it(url, host, target):
    request = Client(url, keep=True, zone_header="Z", host_header="H")._request({}, b"")
    assert dict(request.headers)[b"host"] == host.encode()
    assert request.target == target


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), "timeout"),
        (socket.gaierror(socket.EAI_NONAME, ""), "dns"),
        (ssl.SSLCertVerificationError(1, ""), "tls"),
        (Closed(), "closed"),
        (ConnectionRefusedError(errno.ECONNREFUSED, ""), "refused"),
        (ConnectionResetError(errno.ECONNRESET, ""), "reset"),
        (ConnectionResetError("Connection lost"), "reset"),
        (BrokenPipeError(errno.EPIPE, ""), "reset"),
        (OSError(errno.EHOSTUNREACH, ""), "unreachable"),
        (OSError(errno.EMFILE, ""), "client:EMFILE"),
        (OSError(errno.EADDRNOTAVAIL, ""), "client:EADDRNOTAVAIL"),
        (h11.RemoteProtocolError("x"), "other:RemoteProtocolError"),
    ],
)
def test_what_ended_a_request_has_a_short_kind(error, kind):
    assert kind_of(error) == kind
