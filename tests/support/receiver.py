"""A real HTTP server that takes notifications, and can refuse, fail or hang."""

from __future__ import annotations

import http.server
import json
import threading
import time
from typing import Any, Literal, Self

Manner = Literal["takes", "fails", "hangs", "drips"]


class Receiver:
    """Listens on loopback; `got` are the documents that it took, `asked` counts every request."""

    def __init__(self, manner: Manner = "takes") -> None:
        self.manner: Manner = manner
        self.got: list[dict[str, Any]] = []
        self.asked = 0
        self._released = threading.Event()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.asked += 1
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if receiver.manner == "hangs":
                    receiver._released.wait(60)
                    return
                if receiver.manner == "drips":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                    while not receiver._released.wait(0.2):
                        self.wfile.write(b" ")
                        self.wfile.flush()
                    return
                if receiver.manner == "takes":
                    receiver.got.append(json.loads(body))
                self.send_response(200 if receiver.manner == "takes" else 500)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A client that gave up is what is tested."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait(self, count: int, timeout: float = 20) -> None:
        """Wait until so many documents were taken; fail when they are not in time."""
        deadline = time.monotonic() + timeout
        while len(self.got) < count:
            assert time.monotonic() < deadline, f"{len(self.got)} of {count} came"
            time.sleep(0.02)
