"""HTTP as a host sees it: over a connection that the host opens, so no route from here to the service is needed."""

from __future__ import annotations

import http.client
import io
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from drillctl.errors import NoAnswer
from drillctl.printable import printable

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from drillctl.hosts.transport import Transport

MAX_BODY = 8 << 20
"""Bytes of an answer that are read; a longer one is an error, not a full memory."""

DEEPEST = 100
"""Objects and lists within each other in a JSON document; whoever walks through one goes one call deeper for each."""


@dataclass(frozen=True)
class Reply:
    """An HTTP answer: status, headers (names in lower case), body, and seconds from the request to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object; an empty one when it is something else, or cannot be worked with."""
        try:
            document = json.loads(self.body)
            if not isinstance(document, dict) or _too_deep(document):
                return {}
            json.dumps(document, ensure_ascii=False).encode()  # half of a character can be read, but not be stored
        except (ValueError, RecursionError):
            return {}
        return document


def _too_deep(document: object) -> bool:
    level = [document]
    for _ in range(DEEPEST):
        level = [
            inner
            for value in level
            if isinstance(value, (dict, list))
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
    return bool(level)


class _Kept:
    """A connection that http.client does not get to close, and that is read from until a moment and no longer.

    http.client closes before it reads an answer that says `Connection: close`. A socket lives on in the file that was
    made of it; a channel of SSH does not, and the answer would be cut off.
    """

    def __init__(self, wire: socket.socket, until: float) -> None:
        self.sendall = wire.sendall
        self._incoming = _Incoming(wire, until)

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(self._incoming)

    def close(self) -> None:
        pass


class _Incoming(io.RawIOBase):
    """What comes in until a moment of CLOCK_MONOTONIC: where bytes drip, none of them alone takes too long."""

    def __init__(self, wire: socket.socket, until: float) -> None:
        self._wire = wire
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        try:
            self._wire.settimeout(left)
            data = self._wire.recv(len(buffer))
        except TimeoutError:  # paramiko's says nothing
            raise TimeoutError("timed out") from None
        buffer[: len(data)] = data
        return len(data)


def request(
    transport: Transport,
    address: str,
    port: int,
    path: str,
    *,
    body: bytes | None = None,
    content_type: str | None = None,
    name: str | None = None,
    timeout: float = 5.0,
) -> Reply:
    """GET a path, or POST when there is a body, from `transport`'s host.

    `name` is the server's, where one address serves several. The connection may take `timeout` seconds, and the answer
    as long again, however it comes. Raises NoAnswer where a connection was accepted, and
    otherwise as `Transport.open_tcp`.
    """
    begun = time.monotonic()
    host = transport.host
    wire = transport.open_tcp(address, port, timeout)
    connection = http.client.HTTPConnection(address, port)
    connection.sock = cast("socket.socket", _Kept(wire, time.monotonic() + timeout))
    headers = {"Host": name} if name else {}
    headers |= {"Content-Type": content_type} if content_type else {}
    try:
        connection.request("GET" if body is None else "POST", path, body=body, headers=headers)
        answer = connection.getresponse()
        content = answer.read(MAX_BODY + 1)
        # http.client says nothing when the connection ends before the length that was announced.
        cut = answer.length if len(content) <= MAX_BODY else None
        answer.close()
    except (OSError, http.client.HTTPException) as error:
        reason = printable(error) or type(error).__name__
        raise NoAnswer(f"{address}:{port}{path} gave no answer ({reason})", host=host) from None
    finally:
        wire.close()
    if cut:
        raise NoAnswer(f"{address}:{port}{path} was cut off, {cut} bytes before its end", host=host)
    if len(content) > MAX_BODY:
        raise NoAnswer(f"{address}:{port}{path} answers with more than {MAX_BODY >> 20} MiB", host=host)
    fields = {name.lower(): value for name, value in answer.getheaders()}
    return Reply(answer.status, fields, content, time.monotonic() - begun)
