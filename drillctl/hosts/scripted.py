"""A host in memory: answers commands and HTTP by rule, and remembers what was asked. For tests of what uses a host."""

from __future__ import annotations

import contextlib
import http.server
import shlex
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drillctl.errors import Unreachable
from drillctl.hosts.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from drillctl.errors import HostError


@dataclass(frozen=True)
class Answer:
    """What a command does: its exit code and both streams."""

    stdout: bytes = b""
    exit_code: int = 0
    stderr: bytes = b""


@dataclass(frozen=True)
class Page:
    """What a server answers: its status, its body, and headers beside Content-Length."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Ran:
    """A command that was run: its words without `sudo`, its input, and whether it was run as root."""

    argv: tuple[str, ...]
    stdin: bytes
    privileged: bool


class ScriptedTransport(Transport):
    """A host whose commands are answered by `replies`.

    `replies` is a function, or a mapping from the first words of a command to its answer, of which the longest that
    fits counts; a command that nothing fits ends with 127, as in a shell. `server` is given address:port, path and
    body of an HTTP request and returns the page, or None where nobody listens. `ran` and `asked` list the commands,
    and the addresses with their paths, in order. Set `fail` to make everything raise it from now on, as a host does
    that cannot be reached; `alive` is then False.
    """

    def __init__(
        self,
        host: str,
        replies: Callable[[Ran], Answer | None] | Mapping[tuple[str, ...], Answer],
        *,
        server: Callable[[str, str, bytes], Page | None] | None = None,
        sudo: bool = False,
        key: str = "SHA256:scripted",
    ) -> None:
        self.host = host
        self.privileged_prefix = ("sudo", "-n", "--") if sudo else ()
        self.ran: list[Ran] = []
        self.asked: list[str] = []
        self.fail: HostError | None = None
        self.closed = False
        self._replies = replies
        self._server = server
        self._key = key
        self._lock = threading.Lock()

    def execute(self, command: str, stdin: bytes, timeout: float) -> tuple[int, bytes, bytes]:  # noqa: ARG002 - no time passes here
        argv = tuple(shlex.split(command))
        prefix = self.privileged_prefix
        privileged = bool(prefix) and argv[: len(prefix)] == prefix
        ran = Ran(argv[len(prefix) :] if privileged else argv, stdin, privileged)
        with self._lock:
            self.ran.append(ran)
        if self.fail is not None:
            raise self.fail
        answer = self._answer(ran)
        if answer is None:
            return 127, b"", f"sh: 1: {ran.argv[0]}: not found\n".encode()
        return answer.exit_code, answer.stdout, answer.stderr

    def _answer(self, ran: Ran) -> Answer | None:
        if callable(self._replies):
            return self._replies(ran)
        fitting = [words for words in self._replies if ran.argv[: len(words)] == words]
        return self._replies[max(fitting, key=len)] if fitting else None

    def host_key(self) -> str:
        return self._key

    def alive(self, timeout: float = 5.0) -> bool:  # noqa: ARG002 - no time passes here
        return self.fail is None and not self.closed

    @property
    def connected(self) -> bool:
        return not self.closed

    def reconnect(self) -> None:
        if self.fail is not None:
            raise self.fail
        self.closed = False

    def open_tcp(self, address: str, port: int, timeout: float) -> socket.socket:
        if self.fail is not None:
            raise self.fail
        if self._server is None:
            raise Unreachable(f"{address}:{port} does not accept connections from here", host=self.host)
        ours, theirs = socket.socketpair()
        ours.settimeout(timeout)
        threading.Thread(target=self._serve, args=(theirs, f"{address}:{port}"), name=f"scripted {self.host}").start()
        return ours

    def _serve(self, wire: socket.socket, address: str) -> None:
        """Answer one request; where nobody listens, end without a word."""
        transport = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with transport._lock:
                    transport.asked.append(f"{address}{self.path}")
                page = transport._server(address, self.path, body) if transport._server else None
                if page is None:
                    return
                self.send_response(page.status)
                for name, value in (page.headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(page.body)))
                self.end_headers()
                self.wfile.write(page.body)

            do_POST = do_GET  # noqa: N815 - the name that http.server looks for

            def log_message(self, *_: object) -> None:
                pass

        # Whoever asked may be gone before the last byte, as with a real server.
        with wire, contextlib.suppress(OSError):
            Handler(wire, (self.host, 0), None)  # type: ignore[arg-type]

    def close(self) -> None:
        self.closed = True
