"""Limits on what surrounds an upload: the head of a request, and what is left of a body after the answer.

uvicorn's fastest parser has none of these; without them a client could hold connections and memory for ever.
"""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from inference.answer import canonical_json

if TYPE_CHECKING:
    from asyncio import Future, TimerHandle, Transport

MAX_HEAD: Final = 32 << 10  # bytes of request line and header fields
HEAD_SECONDS: Final = 10.0
MAX_DROP: Final = 40 << 20  # bytes of a body that are still read after its request was answered
DROP_SECONDS: Final = 5.0

CLIENT_LEFT: Final = "inference.client_left"
"""The extension in the scope of a request: a future that is done once its connection is lost."""

_REASONS: Final = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


def new_request_id() -> str:
    """Return 32 hexadecimal digits for a request that came without an id; nothing depends on their being secret."""
    return f"{random.getrandbits(128):032x}"


class _Answer:
    """The transport of one answer: its head leaves with the first piece of its body, in one packet."""

    __slots__ = ("_head", "_transport")

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        if self._head:
            self._transport.write(self._head + data)
            self._head = b""
        elif self._head is None and not data.startswith(b"HTTP/1.1 100 "):
            self._head = data
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Send what is held back: the head of an answer that has no body."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol; a head that is too slow, too large or malformed gets 408, 431 or 400 and the door.

    These answers are JSON and carry the zone, host and request id as all others do. What is left of a body after its
    request was answered is read and dropped, within limits: a client that is cut off while it sends often sees a reset
    instead of the answer.
    """

    _timer: TimerHandle | None = None
    _head = 0  # bytes of an unfinished head
    _body = 0  # bytes of the current body
    _in_body = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Start the clock: a client that connects must ask."""
        super().connection_made(transport)
        self._left: Future[None] = self.loop.create_future()
        self._start_clock(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock, and say so to the requests that are inside."""
        self._stop_clock()
        self._left.set_result(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; measure heads, and bodies that nobody reads any more."""
        if self.transport.is_closing():
            return
        answered = self.cycle is None or self.cycle.response_complete
        if self._timer is None and answered:
            self._start_clock(DROP_SECONDS if self._in_body else HEAD_SECONDS)
        super().data_received(data)
        if self._in_body:
            if answered and self._body > MAX_DROP:
                self.transport.close()
        elif self._timer is not None:
            self._head += len(data)
            if self._head > MAX_HEAD:
                self._refuse(431, "head_too_large", f"The head of a request may have {MAX_HEAD} bytes.")

    def on_headers_complete(self) -> None:
        """Stop the clock and let the request in, unless its head is too large."""
        self._stop_clock()
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD:
            self._refuse(431, "head_too_large", f"The head of a request may have {MAX_HEAD} bytes.")
            return
        self._in_body, self._body = True, 0
        self.scope["extensions"] = {CLIENT_LEFT: self._left}  # type: ignore[dict-item]
        super().on_headers_complete()
        answer = _Answer(self.transport)
        self.cycle.transport = answer  # type: ignore[assignment]
        self.cycle.on_response = partial(self._answered, answer)

    def on_body(self, body: bytes) -> None:
        """Hand on the body of a request that was let in."""
        self._body += len(body)
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the body of a request that was let in."""
        self._in_body = False
        self._stop_clock()
        if not self.transport.is_closing():
            super().on_message_complete()

    def _answered(self, answer: _Answer) -> None:
        answer.flush()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """Keep the connection, unless a body is due on it that is hopeless or that the client waits to send."""
        super().on_response_complete()
        declared = dict(self.headers).get(b"content-length", b"0")
        if self._in_body and (int(declared) > MAX_DROP or (self.expect_100_continue and not self._body)):
            self.transport.close()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - it repeats what the client sent
        """Refuse what is not HTTP, without repeating any of it."""
        self._refuse(400, "malformed_request", "This is not a well-formed HTTP request.")

    def _start_clock(self, seconds: float) -> None:
        self._head = 0
        self._timer = self.loop.call_later(seconds, self._too_slow)

    def _stop_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if self._head and not self._in_body:
            self._refuse(408, "too_slow", f"The head of the request took longer than {HEAD_SECONDS:.0f} s.")
        else:
            self.transport.close()

    def _refuse(self, status: int, error: str, message: str) -> None:
        if self.transport.is_closing():
            return
        self._stop_clock()
        body = canonical_json({"error": error, "message": message})
        fields = [
            *self.server_state.default_headers,
            (b"x-request-id", new_request_id().encode()),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        head = b"HTTP/1.1 %d %s\r\n" % (status, _REASONS[status])
        self.transport.write(head + b"".join(b"%s: %s\r\n" % field for field in fields) + b"\r\n" + body)
        self.transport.close()
