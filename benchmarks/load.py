"""A load generator in a process of its own: keep-alive connections that post images and time the answers.

``python -m benchmarks.load URL IMAGE… --connections N --seconds S`` sends the next image as soon as one is answered
(closed loop: saturation). With ``--rate R`` requests leave on a fixed schedule instead, whether or not earlier ones
are answered (open loop); their latency counts from the scheduled moment, so that a server that stalls cannot hide it.
Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import uvloop

if TYPE_CHECKING:
    from collections.abc import Sequence

BOUNDARY: Final = "benchmark-boundary"
GOOD: Final = 200
PATIENCE: Final = 20.0  # seconds


@dataclass
class Outcome:
    """What one run saw: answers by status (0: the connection broke), latencies of the good ones, bodies per image."""

    seconds: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    late: int = 0
    differing: int = 0

    @property
    def rate(self) -> float:
        """Good answers per second."""
        return len(self.latencies) / self.seconds

    @property
    def refused(self) -> int:
        return sum(count for status, count in self.statuses.items() if status != GOOD)

    def percentile(self, share: float) -> float:
        """Latency in seconds that ``share`` (0–1) of the good answers kept."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class _Connection(asyncio.Protocol):
    """One connection: one request at a time, its answer's status and body, and when the last byte of it came."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._received = b""
        self._answer: asyncio.Future[tuple[int, bytes, float]] | None = None
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def ask(self, request: bytes) -> asyncio.Future[tuple[int, bytes, float]]:
        assert self.transport is not None
        loop = asyncio.get_running_loop()
        self._received = b""
        self._answer = loop.create_future()
        self._patience = loop.call_later(PATIENCE, self.transport.abort)
        self.transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._received[:end].lower()
        length = head.find(b"\r\ncontent-length:")
        if length < 0:
            return  # it ends with the connection
        size = int(head[length + 17 :].split(b"\r\n", 1)[0])
        if len(self._received) >= end + 4 + size:
            now = time.monotonic()
            if b"\r\nconnection: close" in head and self.transport is not None:
                self.transport.close()
                self.transport = None
            self._finish(int(head[9:12]), self._received[end + 4 :], now)

    def connection_lost(self, _: Exception | None) -> None:
        self.transport = None
        self._finish(0, b"", time.monotonic())

    def _finish(self, status: int, body: bytes, now: float) -> None:
        if self._patience:
            self._patience.cancel()
        if self._answer and not self._answer.done():
            self._answer.set_result((status, body, now))


class Load:
    """Posts ``images`` in turn to ``url``."""

    def __init__(self, url: str, images: Sequence[bytes]) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._requests = [_request(parts.netloc, parts.path, image) for image in images]
        self._bodies: dict[int, bytes] = {}
        self._next = 0
        self._idle: list[_Connection] = []
        self.outcome = Outcome()

    async def saturate(self, connections: int, seconds: float, warm_up: float) -> Outcome:
        """Keep ``connections`` requests in flight; only what is answered after ``warm_up`` seconds counts."""
        begin = time.monotonic() + warm_up
        end = begin + seconds

        async def worker() -> None:
            while time.monotonic() < end:
                await self._one(None, begin, end)

        await asyncio.gather(*(worker() for _ in range(connections)))
        self.outcome.seconds = seconds
        return self.outcome

    async def keep_rate(self, rate: float, seconds: float, warm_up: float) -> Outcome:
        """Send on a fixed schedule of ``rate`` per second."""
        start = time.monotonic() + 0.1
        begin = start + warm_up
        tasks = set()
        for number in range(int(rate * (warm_up + seconds))):
            due = start + number / rate
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            elif wait < -0.5 / rate:
                self.outcome.late += 1
            task = asyncio.create_task(self._one(due, begin, float("inf")))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        self.outcome.seconds = seconds
        return self.outcome

    async def _one(self, due: float | None, begin: float, end: float) -> None:
        number = self._next % len(self._requests)
        self._next += 1
        connection = self._idle.pop() if self._idle else None
        status, body, now = 0, b"", 0.0
        sent = time.monotonic()
        try:
            if connection is None or connection.transport is None or connection.transport.is_closing():
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(_Connection, self._host, self._port)
            status, body, now = await connection.ask(self._requests[number])
        except OSError:
            now = time.monotonic()
            await asyncio.sleep(0.01)
        if connection is not None and connection.transport is not None:
            self._idle.append(connection)
        if status == GOOD:
            self.outcome.differing += self._bodies.setdefault(number, body) != body
        if begin <= (now if due is None else due) < end:
            self.outcome.statuses[status] = self.outcome.statuses.get(status, 0) + 1
            if status == GOOD:
                self.outcome.latencies.append(now - (sent if due is None else due))


def _request(host: str, path: str, image: bytes) -> bytes:
    body = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="image.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode() + image
    body += f"\r\n--{BOUNDARY}--\r\n".encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: keep-alive\r\n\r\n"
    )
    return head.encode() + body


def main() -> None:
    parser = argparse.ArgumentParser(description="Post images to a server and time its answers; prints JSON.")
    parser.add_argument("url")
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rate", type=float, help="requests per second on a fixed schedule, instead of saturation")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warm-up", type=float, default=1.0)
    given = parser.parse_args()
    load = Load(given.url, [path.read_bytes() for path in given.images])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if given.rate:
            outcome = runner.run(load.keep_rate(given.rate, given.seconds, given.warm_up))
        else:
            outcome = runner.run(load.saturate(given.connections, given.seconds, given.warm_up))
    json.dump(asdict(outcome), sys.stdout)


if __name__ == "__main__":
    main()
