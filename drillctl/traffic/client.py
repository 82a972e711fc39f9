"""A client of the service for one lane of the prober: HTTP/1.1 over connections that are used once or kept.

A kept connection is looked at right before a request is written to it, in the same turn of the event loop, and given
up if the other side has closed it by then, as urllib3 does. Libraries for asyncio let other work run in
between, and lose requests of their own making when the gateway closes connections at a reload (docs/measuring.md).
What a server closes later than that look is lost, and reported: no request is sent twice.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import select
import socket
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import quote, urlsplit

import aiohappyeyeballs
import h11

from drillctl.traffic.probe import CLIENT_FAULT

if TYPE_CHECKING:
    from collections.abc import Mapping

ADDRESSES_HOLD = 10.0
"""Seconds for which the addresses of a name are used before it is asked for again."""

NEXT_ADDRESS = 0.25
"""Seconds after which the next address of a name is tried beside the first (RFC 8305)."""

_OUR_FAULT = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}
_REFUSED = {errno.ECONNREFUSED: "refused", errno.ECONNRESET: "reset", errno.EPIPE: "reset"}
_UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}

_Addresses = list[tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]]


class Closed(ConnectionError):
    """The other side closed the connection before its answer was whole."""


@dataclass(slots=True)
class Answer:
    """What came back of one request, as far as it got; `done` is CLOCK_MONOTONIC, and 0 while it is not."""

    status: int | None = None
    error: str | None = None
    zone: str | None = None
    host: str | None = None
    body: bytes = b""
    done: float = 0.0


class Client:
    """Posts to one address. `keep`: connections are used again; else there is a fresh one for each request.

    `zone_header` and `host_header` name the headers of an answer that say who gave it.
    """

    def __init__(self, url: str, *, keep: bool, zone_header: str, host_header: str) -> None:
        """Take the address apart. Raises ValueError if it is none."""
        parts = urlsplit(url)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        usual = 443 if self._tls else 80
        self._name = parts.hostname or ""
        self._port = parts.port or usual
        host = f"[{self._name}]" if ":" in self._name else self._name.encode("idna").decode("ascii")
        self._target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (f"?{parts.query}" if parts.query else "")
        self._headers = [
            ("Host", host if self._port == usual else f"{host}:{self._port}"),
            ("User-Agent", "drillctl-prober"),
            ("Accept", "*/*"),
            ("Accept-Encoding", "identity"),
            *([] if keep else [("Connection", "close")]),
        ]
        self._keep = keep
        self._names = (zone_header.lower().encode(), host_header.lower().encode())
        self._idle: list[_Connection] = []
        self._addresses: _Addresses = []
        self._known_until = 0.0
        self._lookup: asyncio.Task[None] | None = None

    async def post(self, headers: Mapping[str, str], content: bytes, *, until: float) -> Answer:
        """Post, and wait for the whole answer until a moment of CLOCK_MONOTONIC. What went wrong is in the answer."""
        answer = Answer()
        connection = None
        try:
            request = self._request(headers, content)
            async with asyncio.timeout_at(until):
                connection = self._sent_on_a_kept_one(request, content)
                if connection is None:
                    connection = await self._connect()
                    if not connection.send(request, content):
                        raise Closed  # noqa: TRY301 - here it becomes an answer
                await connection.read(answer)
        except Exception as error:  # noqa: BLE001 - whatever it is: a request without a record would be a hole in it
            answer.error = kind_of(error)
        answer.done = time.monotonic()
        if connection is not None:
            if self._keep and answer.error is None and connection.reusable:
                self._idle.append(connection)
            else:
                connection.close(at_once=answer.error is not None)
        return answer

    def close(self) -> None:
        """Close what is kept."""
        while self._idle:
            self._idle.pop().close()

    def _request(self, headers: Mapping[str, str], content: bytes) -> h11.Request:
        own = [*self._headers, *headers.items(), ("Content-Length", str(len(content)))]
        return h11.Request(method="POST", target=self._target, headers=own)

    def _sent_on_a_kept_one(self, request: h11.Request, content: bytes) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.send(request, content, look=True):
                return connection
            connection.close()
        return None

    async def _connect(self) -> _Connection:
        if time.monotonic() >= self._known_until:
            if self._lookup is None or self._lookup.done():
                self._lookup = asyncio.create_task(self._look_up())
                # Whoever waits for it may have given up by the time it fails; then nobody else would ask why.
                self._lookup.add_done_callback(lambda lookup: lookup.cancelled() or lookup.exception())
            await asyncio.wait([self._lookup])
            self._lookup.result()
        connected = await aiohappyeyeballs.start_connection(self._addresses, happy_eyeballs_delay=NEXT_ADDRESS)
        name = self._name if self._tls else None
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: _Connection(self._names), sock=connected, ssl=self._tls, server_hostname=name
        )
        return connection

    async def _look_up(self) -> None:
        """Look the name up, once for all requests that wait for it."""
        address = _is_address(self._name)
        found = await asyncio.get_running_loop().getaddrinfo(
            self._name, self._port, type=socket.SOCK_STREAM, flags=0 if address else socket.AI_ADDRCONFIG
        )
        self._addresses = cast("_Addresses", found)
        self._known_until = float("inf") if address else time.monotonic() + ADDRESSES_HOLD


class _Connection(asyncio.Protocol):
    """One connection, with at most one request on it."""

    def __init__(self, names: tuple[bytes, bytes]) -> None:
        self._zone_header, self._host_header = names
        self._http = h11.Connection(h11.CLIENT)
        self._answer = Answer()
        self._done: asyncio.Future[None] | None = None

    def send(self, request: h11.Request, content: bytes, *, look: bool = False) -> bool:
        """Send a request unless the connection is closed, and tell whether it was sent.

        `look`: ask the kernel as well, as the event loop may not have got round to it yet.
        """
        piece = b"".join((self._said(request), self._said(h11.Data(content)), self._said(h11.EndOfMessage())))
        if self._transport.is_closing() or (look and self._readable):
            return False
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(piece)
        return True

    async def read(self, answer: Answer) -> None:
        """Wait for the answer. Raises OSError and h11.ProtocolError; `answer` has what came."""
        self._answer = answer
        if self._done is not None:
            await self._done

    @property
    def _awaited(self) -> bool:
        return self._done is not None and not self._done.done()

    @property
    def _readable(self) -> bool:
        """Whether there is something to read: its end, or what nobody asked for."""
        look = select.poll()
        look.register(self._fileno, select.POLLIN)
        return bool(look.poll(0))

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent, once the one on it was answered."""
        if self._transport.is_closing() or self._transport.get_write_buffer_size() or self._http.trailing_data[0]:
            return False
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    def close(self, *, at_once: bool = False) -> None:
        """Close it; at once also where the other side might never take what is on its way."""
        if at_once or self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over a connection that was made."""
        self._transport = cast("asyncio.Transport", transport)
        self._fileno = transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        """Read on in the answer. What nobody asked for is none, and ends the connection."""
        if not self._awaited:
            self._transport.abort()
            return
        try:
            self._http.receive_data(data)
            self._read()
        except h11.RemoteProtocolError as error:
            self._end(error)

    def eof_received(self) -> None:
        """Read the end of an answer that ends so; any other is cut off."""
        if not self._awaited:
            return
        try:
            self._http.receive_data(b"")
            self._read()
        except h11.RemoteProtocolError:
            pass
        self._end(Closed())

    def connection_lost(self, error: Exception | None) -> None:
        """Give up what is still awaited."""
        self._end(error or Closed())

    def _said(self, event: h11.Event) -> bytes:
        return self._http.send(event) or b""

    def _read(self) -> None:
        pieces = []
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Response):
                named = dict(event.headers)
                self._answer.status = event.status_code
                self._answer.zone = _text(named.get(self._zone_header))
                self._answer.host = _text(named.get(self._host_header))
            elif isinstance(event, h11.Data):
                pieces.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._answer.body += b"".join(pieces)
                self._end(None)
                return
            elif not isinstance(event, h11.InformationalResponse):
                break
        self._answer.body += b"".join(pieces)

    def _end(self, error: Exception | None) -> None:
        if self._done is None or self._done.done():
            return
        if error is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(error)


def kind_of(error: BaseException) -> str:
    """Return the short kind of what ended a request; see Probe."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, socket.gaierror):
        return "dns"
    if isinstance(error, ssl.SSLError):
        return "tls"
    if isinstance(error, Closed):
        return "closed"
    if isinstance(error, OSError) and error.errno is not None:
        if error.errno in _OUR_FAULT:
            return f"{CLIENT_FAULT}{errno.errorcode[error.errno]}"
        if error.errno in _UNREACHABLE:
            return "unreachable"
        if error.errno in _REFUSED:
            return _REFUSED[error.errno]
    if isinstance(error, ConnectionError):
        return "reset"
    return f"other:{type(error).__name__}"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")
