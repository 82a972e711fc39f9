"""A port of this machine that leads to a server as a host sees it, for a program that only knows addresses."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self

from drillctl.errors import HostError

if TYPE_CHECKING:
    from drillctl.hosts.transport import Transport

_CHUNK = 1 << 16


class Forward:
    """Forwards a free port of loopback while its `with` block lasts; `port` is its number.

    Each connection is one that the host opens. One that it cannot open is closed at once, and `refused` says why.
    """

    def __init__(self, transport: Transport, address: str, port: int, timeout: float = 5.0) -> None:
        self.refused: str | None = None
        self._transport = transport
        self._to = (address, port)
        self._timeout = timeout
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, name=f"forward {address}", daemon=True)

    def __enter__(self) -> Self:
        """Begin to accept."""
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the port and every connection."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(5)
        with self._lock:
            left = list(self._open)
        for wire in left:
            _end(wire)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._carry, args=(near,), name="forward", daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        """Carry one connection in both directions until either end closes it."""
        try:
            far = self._transport.open_tcp(*self._to, self._timeout)
        except HostError as error:
            self.refused = str(error)
            near.close()
            return
        far.settimeout(None)
        with self._lock:
            self._open |= {near, far}
        back = threading.Thread(target=_pump, args=(far, near), name="forward back", daemon=True)
        back.start()
        _pump(near, far)
        back.join()
        for wire in (near, far):
            with self._lock:
                self._open.discard(wire)
            wire.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Hand on what comes until there is no more, then end the other side as well."""
    with contextlib.suppress(OSError, EOFError):
        while chunk := source.recv(_CHUNK):
            target.sendall(chunk)
    _end(source)
    _end(target)


def _end(wire: socket.socket) -> None:
    """End a connection so that whoever waits on it wakes; a channel of SSH knows `shutdown` too."""
    with contextlib.suppress(OSError, EOFError):
        wire.shutdown(socket.SHUT_RDWR)
