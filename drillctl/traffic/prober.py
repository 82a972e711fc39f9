"""The process that sends the traffic: `python -m drillctl.traffic.prober`.

It reads a TrafficSpec, one line of JSON, on standard input, says `ready`, and then posts images at the fixed rate
until a line `stop` or the end of input; requests in flight are waited for. Each line of standard output is a Probe as
it ends, or an object with a key `event`: `ready` (schedule starts at `start`), `overdue` (an Overdue) and `end` (with
the prober's own lag in seconds). It ends by itself when nobody reads any more. Exit code 2: the specification cannot
be used.

Open loop: request n is due at start + n × interval whether or not earlier ones were answered. Nothing is repeated, no
redirect is followed, no proxy is taken from the environment. The process is one of its own so that neither the engine's
work nor its pauses show in the measurement.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import math
import os
import queue
import resource
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pydantic import ValidationError

from drillctl.compare.equality import digest
from drillctl.traffic.body import Body, shuffled_rounds
from drillctl.traffic.client import Client
from drillctl.traffic.probe import Lane, Overdue, Probe, is_missed
from drillctl.traffic.spec import TrafficSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

START_DELAY = 0.05
"""Seconds between `ready` and the first send, so that the first one is not late already."""

SPARE_DESCRIPTORS = 64


class Output:
    """Lines to standard output from a thread of their own: a reader that is slow delays no request."""

    def __init__(self, on_broken: Callable[[], None]) -> None:
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._on_broken = on_broken
        self._thread = threading.Thread(target=self._write, name="output", daemon=True)
        self._thread.start()

    def line(self, text: str) -> None:
        """Hand over one line."""
        self._lines.put(text.encode() + b"\n")

    def close(self, timeout: float) -> None:
        """Wait until everything is written, at most `timeout` seconds."""
        self._lines.put(None)
        self._thread.join(timeout)

    def _write(self) -> None:
        try:
            while (line := self._lines.get()) is not None:
                view = memoryview(line)
                while view:
                    view = view[os.write(sys.stdout.fileno(), view) :]
        except OSError:
            self._on_broken()


class Prober:
    """Sends the requests of a specification, open loop, and reports each."""

    def __init__(
        self,
        spec: TrafficSpec,
        bodies: list[Body],
        clients: Mapping[Lane, Client],
        output: Output,
        stopped: asyncio.Event,
    ) -> None:
        self._spec = spec
        self._bodies = bodies
        self._output = output
        self._stopped = stopped
        self._lags: list[float] = []
        self._clients = clients
        self._in_flight: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Warm up, send until stopped, wait for what is in flight, say `end`."""
        await self._warm_up()
        gc.collect()
        gc.freeze()
        start = time.monotonic() + START_DELAY
        self._output.line(json.dumps({"event": "ready", "start": start, "interval": self._spec.interval}))
        await self._send_on_schedule(start)
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=self._spec.timeout + 1)
        for client in self._clients.values():
            client.close()
        self._output.line(json.dumps({"event": "end", "sent": len(self._lags), **lag_figures(self._lags)}))

    async def _warm_up(self) -> None:
        """Send one request per lane that is not counted: it loads code and opens the kept connection. It may fail."""
        until = time.monotonic() + self._spec.timeout
        body = self._bodies[0]
        await asyncio.gather(*(c.post(body.headers, body.content, until=until) for c in self._clients.values()))

    async def _send_on_schedule(self, start: float) -> None:
        loop = asyncio.get_running_loop()
        stopping = loop.create_task(self._stopped.wait())
        for seq, body in enumerate(shuffled_rounds(self._bodies, self._spec.seed)):
            scheduled = start + seq * self._spec.interval
            delay = scheduled - time.monotonic()
            if delay > 0:
                await asyncio.wait([stopping], timeout=delay)
            else:
                await asyncio.sleep(0)
            if self._stopped.is_set():
                break
            task = loop.create_task(self._send(seq, self._spec.lanes[seq % len(self._spec.lanes)], body, scheduled))
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)
        stopping.cancel()

    async def _send(self, seq: int, lane: Lane, body: Body, scheduled: float) -> None:
        sent = time.monotonic()
        self._lags.append(sent - scheduled)
        overdue = None
        if self._spec.slow is not None:
            overdue = asyncio.get_running_loop().call_later(self._spec.slow, self._overdue, seq, lane, scheduled, sent)
        answer = await self._clients[lane].post(body.headers, body.content, until=sent + self._spec.timeout)
        if overdue is not None:
            overdue.cancel()
        probe = Probe(
            seq=seq,
            lane=lane,
            image=body.image,
            scheduled=scheduled,
            sent=sent,
            done=answer.done,
            status=answer.status,
            error=answer.error,
            zone=answer.zone,
            host=answer.host,
            digest=digest(answer.body) if answer.status == 200 and answer.error is None else None,
            missed=is_missed(scheduled, sent, self._spec.interval),
        )
        self._output.line(probe.to_json())

    def _overdue(self, seq: int, lane: Lane, scheduled: float, sent: float) -> None:
        waiting = Overdue(seq, lane, scheduled, sent, time.monotonic())
        self._output.line(json.dumps({"event": "overdue", **asdict(waiting)}))


def lag_figures(lags: list[float]) -> dict[str, float]:
    """Return median, 99th percentile (both nearest rank) and maximum of the prober's own lag, in seconds."""
    ordered = sorted(lags) or [0.0]
    return {
        "lag_p50": ordered[math.ceil(len(ordered) * 0.50) - 1],
        "lag_p99": ordered[math.ceil(len(ordered) * 0.99) - 1],
        "lag_max": ordered[-1],
    }


def _refuse(why: str) -> NoReturn:
    sys.stderr.write(f"prober: {why}\n")
    raise SystemExit(2)


def read_spec(line: bytes) -> tuple[TrafficSpec, list[Body]]:
    """Read a specification and its images. Exits with 2 if they cannot be used."""
    try:
        spec = TrafficSpec.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        _refuse(f"the specification cannot be used: {where + ': ' if where else ''}{first['msg']}")
    try:
        bodies = [Body(Path(path)) for path in spec.images]
    except OSError as error:
        _refuse(f"image {error.filename} cannot be read: {error.strerror}")
    return spec, bodies


def allow_descriptors(spec: TrafficSpec) -> None:
    """Raise this process's limit of open files to what is allowed. Exits with 2 if the load could need more."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    needed = math.ceil(spec.rate * spec.timeout) + SPARE_DESCRIPTORS
    if hard != resource.RLIM_INFINITY and needed > hard:
        _refuse(
            f"{spec.rate:g} requests/s that may wait {spec.timeout:g} s need {needed} open files, and only {hard} are "
            "allowed: lower the rate or the timeout, or raise the limit (ulimit -Hn)"
        )


class Input:
    """Standard input by lines. Read without a buffer of Python's, whose lock a waiting thread would hold at exit."""

    def __init__(self) -> None:
        self._rest = b""

    def line(self) -> bytes:
        """Return the next line without its end, or what is left at the end of input; b"" then."""
        while b"\n" not in self._rest:
            chunk = os.read(sys.stdin.fileno(), 65536)
            if not chunk:
                line, self._rest = self._rest, b""
                return line
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return line


def _wait_for_stop(source: Input, stop: Callable[[], None]) -> None:
    with contextlib.suppress(OSError):
        while source.line() not in {b"stop", b""}:
            pass
    stop()


def clients_for(spec: TrafficSpec) -> dict[Lane, Client]:
    """Return a client for each lane. Exits with 2 if the address is none."""
    names = {"zone_header": spec.zone_header, "host_header": spec.host_header}
    try:
        return {lane: Client(spec.url, keep=lane == "keepalive", **names) for lane in spec.lanes}
    except ValueError as error:
        _refuse(f"the address {spec.url} cannot be used: {error}")


async def _run(spec: TrafficSpec, bodies: list[Body], clients: Mapping[Lane, Client], source: Input) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: it has stopped already
            loop.call_soon_threadsafe(stopped.set)

    output = Output(on_broken=lambda: os._exit(0))
    threading.Thread(target=_wait_for_stop, args=(source, stop), name="input", daemon=True).start()
    await Prober(spec, bodies, clients, output, stopped).run()
    output.close(timeout=5)


def main() -> None:
    """Run the prober on standard input and output."""
    # A Ctrl-C in the terminal is for drillctl, which restores under traffic and then says stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source = Input()
    spec, bodies = read_spec(source.line())
    clients = clients_for(spec)
    allow_descriptors(spec)
    with contextlib.suppress(OSError):
        os.nice(-5)
    asyncio.run(_run(spec, bodies, clients, source))


if __name__ == "__main__":
    main()
