"""What clients with kept connections lose when nginx reloads: the prober's client beside those of other libraries.

Run: make bench-reload (or .venv/bin/python -m benchmarks.reload [--rounds 3] [--seconds 20] [--busy 3]).

An nginx of its own on loopback answers at once, and is told to reload ten times a second. Each client posts 20 kB a
hundred times a second, open loop, but for urllib3, which waits for its answers; they take turns. `--busy` loops keep
the cores from being idle: what is lost is lost when somebody has to wait for a processor. No request is sent twice.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import httpx
import urllib3

from drillctl.traffic.client import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

RATE = 100.0
RELOADS = 10.0
TIMEOUT = 2.0
BODY = b"x" * 20_000

CONFIG = """\
daemon off;
pid "{folder}/pid";
error_log "{folder}/error.log";
worker_processes 2;
events {{ }}
http {{
    access_log off;
    client_body_temp_path "{folder}/body";
    server {{ listen 127.0.0.1:{port}; location / {{ return 200 "{{}}"; }} }}
}}
"""

if TYPE_CHECKING:
    Send = Callable[[], Awaitable[bool]]
    Measure = Callable[[str, float], Counter[bool]]


@contextlib.asynccontextmanager
async def by_drillctl(url: str) -> AsyncIterator[Send]:
    client = Client(url, keep=True, zone_header="x", host_header="x")

    async def send() -> bool:
        answer = await client.post({}, BODY, until=time.monotonic() + TIMEOUT)
        return answer.error is None

    yield send
    client.close()


@contextlib.asynccontextmanager
async def by_aiohttp(url: str) -> AsyncIterator[Send]:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=TIMEOUT)
    ) as session:

        async def send() -> bool:
            try:
                async with session.post(url, data=BODY) as response:
                    await response.read()
            except (aiohttp.ClientError, OSError):
                return False
            return True

        yield send


@contextlib.asynccontextmanager
async def by_httpx(url: str) -> AsyncIterator[Send]:
    async with httpx.AsyncClient(limits=httpx.Limits(), timeout=TIMEOUT, trust_env=False) as client:

        async def send() -> bool:
            try:
                await client.post(url, content=BODY)
            except httpx.HTTPError:
                return False
            return True

        yield send


async def open_loop(send: Send, seconds: float) -> Counter[bool]:
    """Send on schedule, whatever becomes of it; return how many were answered and how many lost."""
    start, tasks = time.monotonic(), []
    for number in range(int(seconds * RATE)):
        await asyncio.sleep(max(0.0, start + number / RATE - time.monotonic()))
        tasks.append(asyncio.create_task(send()))
    return Counter(await asyncio.gather(*tasks))


def of(client: Callable[[str], contextlib.AbstractAsyncContextManager[Send]]) -> Measure:
    """Return what measures an asynchronous client."""

    def measure(url: str, seconds: float) -> Counter[bool]:
        async def run() -> Counter[bool]:
            async with client(url) as send:
                return await open_loop(send, seconds)

        return asyncio.run(run())

    return measure


def by_urllib3(url: str, seconds: float) -> Counter[bool]:
    """Post one after the other, as a program with `requests` does."""
    pool, counted = urllib3.PoolManager(retries=False, timeout=TIMEOUT), Counter[bool]()
    start = time.monotonic()
    for number in range(int(seconds * RATE)):
        time.sleep(max(0.0, start + number / RATE - time.monotonic()))
        try:
            pool.request("POST", url, body=BODY)
        except urllib3.exceptions.HTTPError:
            counted[False] += 1
        else:
            counted[True] += 1
    pool.clear()
    return counted


CLIENTS = {
    "drillctl": of(by_drillctl),
    "urllib3": by_urllib3,
    "aiohttp": of(by_aiohttp),
    "httpx": of(by_httpx),
}


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[tuple[str, int]]:
    """Run nginx; yield its address and the pid of its master."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(folder=folder, port=port), encoding="utf-8")
    process = subprocess.Popen(["nginx", "-c", str(config)])
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/", process.pid
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def reloading(pid: int) -> Iterator[list[int]]:
    """Reload on and on; the list has one entry, the number of reloads so far."""
    done, count = threading.Event(), [0]

    def reload() -> None:
        while not done.wait(1 / RELOADS):
            os.kill(pid, signal.SIGHUP)
            count[0] += 1

    thread = threading.Thread(target=reload)
    thread.start()
    try:
        yield count
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def busy(loops: int) -> Iterator[None]:
    """Keep that many processors busy."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def main() -> None:
    """Measure every client in turns, and print a table."""
    parser = argparse.ArgumentParser(description="What kept connections lose when nginx reloads.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--busy", type=int, default=3)
    arguments = parser.parse_args()
    lost: dict[str, list[float]] = {name: [] for name in CLIENTS}
    with tempfile.TemporaryDirectory() as name, nginx(Path(name)) as (url, pid), busy(arguments.busy):
        for turn in range(arguments.rounds):
            names = list(CLIENTS)
            for client in names[turn % len(names) :] + names[: turn % len(names)]:
                with reloading(pid) as count:
                    counted = CLIENTS[client](url, arguments.seconds)
                lost[client].append(100 * counted[False] / count[0])
    print(
        f"{platform.machine()}, Linux {platform.release()}, {os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d}; "
        f"lost per 100 reloads beside {arguments.busy} busy loops, median (lowest to highest) of {arguments.rounds}"
    )
    for client, values in lost.items():
        print(f"{client:<10} {statistics.median(values):6.1f}   ({min(values):.1f} to {max(values):.1f})")


if __name__ == "__main__":
    main()
