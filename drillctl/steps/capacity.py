"""capacity: a short load straight on the standby's servers, before anything is broken.

Clients keep asking the gateway meanwhile. How many requests a second they send is read from its access log, and when
that is more than nothing, the standby has to carry it beside the drill's own traffic.
"""

from __future__ import annotations

import contextlib
import http.client
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drillctl import survey
from drillctl.capacity import Carried, carried
from drillctl.errors import HostError, NotStarted
from drillctl.hosts import http as http_of
from drillctl.hosts.fleet import each
from drillctl.hosts.forward import Forward
from drillctl.hosts.local import LocalTransport
from drillctl.playbook import images
from drillctl.traffic.spec import TrafficSpec
from drillctl.traffic.stream import Traffic

if TYPE_CHECKING:
    from drillctl.inventory import Host
    from drillctl.run import Run
    from drillctl.traffic.probe import Lane, Probe

REACHED_WITHIN = 1.0
"""Seconds within which a server must answer this machine itself to be asked directly."""

MOST = 2000
"""Requests a second on one server that one prober may be told to send (traffic/spec.py)."""

ROUNDS = 20
"""Questions that tell how long the way through SSH is; their median counts."""


@dataclass(frozen=True)
class Way:
    """How the servers are reached: by name their address and port from here, in words, and over which connections."""

    addresses: dict[str, tuple[str, int]]
    words: str
    lanes: tuple[Lane, ...]


def check(run: Run) -> str:
    """Load the standby; return what it carried, and how that was measured. Raises NotStarted when it is too little."""
    plan, traffic = run.playbook.capacity, run.playbook.traffic
    rate = plan.rate or traffic.rate
    with contextlib.ExitStack() as stack:
        way = _way(run, stack)
        found, clients = _load(run, way, rate, 0)
        # What a few requests too many or too few make is no rate.
        if clients is not None and clients * plan.seconds >= 3 and _short(run, found) is None:
            found, _ = _load(run, way, rate + clients, 1)
    told = f"{found}; {way.words}; " + (
        "the clients' own rate is not known: the access log does not tell"
        if clients is None
        else f"clients ask {clients:.0f}/s of the gateway"
    )
    if short := _short(run, found):
        raise NotStarted(
            f"the standby cannot carry {found.rate:g} requests a second: {short} ({way.words})",
            hint="give it more servers, or lower `capacity.rate` if that is more than clients ask for",
        )
    return told


def _short(run: Run, found: Carried) -> str | None:
    return found.shortcoming(run.playbook.capacity.p99_seconds or run.playbook.traffic.slow_seconds)


def _way(run: Run, stack: contextlib.ExitStack) -> Way:
    """Choose how to reach the standby's servers. Raises NotStarted when the way that is wanted does not lead there."""
    wanted = run.playbook.capacity.way
    hosts = run.inventory.zone("standby").hosts
    if wanted != "gateway":
        missed = {host.name: why for host in hosts if (why := _unreached(run, host)) is not None}
        if not missed:
            addresses = {host.name: _address(run, host) for host in hosts}
            return Way(addresses, "straight from this machine", ("fresh", "keepalive"))
        if wanted == "direct":
            name, why = next(iter(missed.items()))
            raise NotStarted(f"{name} cannot be loaded straight from this machine: {why}", hint="set `capacity.way`")
    fleet, _ = run.live()
    forwards: dict[str, tuple[str, int]] = {}
    by = ""
    for host in hosts:
        transport, address, port = survey.way_to(run.inventory, fleet, host)
        forwards[host.name] = ("127.0.0.1", stack.enter_context(Forward(transport, address, port)).port)
        by = transport.host
    seconds = _length(forwards[hosts[0].name], run.inventory.service.paths.health)
    # A new connection would be a new channel of SSH, which no client needs.
    return Way(forwards, f"through SSH by {by}, where a health check takes {seconds * 1000:.0f} ms", ("keepalive",))


def _address(run: Run, host: Host) -> tuple[str, int]:
    fleet, _ = run.live()
    _, address, port = survey.way_to(run.inventory, fleet, host)
    return address, port


def _unreached(run: Run, host: Host) -> str | None:
    """Return why a server cannot be asked from this machine; None when it answers, and is the one that is meant."""
    address, port = _address(run, host)
    service = run.inventory.service
    try:
        reply = http_of.request(LocalTransport(host.name), address, port, service.paths.info, timeout=REACHED_WITHIN)
    except HostError as error:
        return error.message
    answered = reply.headers.get(service.zone_header.lower())
    if answered == run.inventory.zone("standby").name:
        return None
    return f"{answered or 'a server that names no zone'} answers at {address}:{port}"


def _length(address: tuple[str, int], path: str) -> float:
    """Return the seconds of one small question over a kept connection, the median of some. Raises NotStarted."""
    taken: list[float] = []
    connection = http.client.HTTPConnection(*address, timeout=5)
    try:
        for _ in range(ROUNDS):
            begun = time.monotonic()
            connection.request("GET", path)
            connection.getresponse().read()
            taken.append(time.monotonic() - begun)
    except (OSError, http.client.HTTPException) as error:
        raise NotStarted(f"the standby does not answer through SSH ({error or type(error).__name__})") from None
    finally:
        connection.close()
    return statistics.median(taken)


def _load(run: Run, way: Way, rate: float, number: int) -> tuple[Carried, float | None]:
    """Load all servers at once, the rate shared evenly; return what they carried, and what clients ask of the gateway.

    The clients' rate is in requests a second; None when the access log does not tell.
    """
    _, gateway = run.live()
    hosts = run.inventory.zone("standby").hosts
    if rate > MOST * len(hosts):
        raise NotStarted(
            f"a load of {rate:.0f} requests a second cannot be made from here: at most {MOST} on each server",
            hint="load the standby with another tool, and leave `capacity` out of `steady_state`",
        )
    plan, traffic, service = run.playbook.capacity, run.playbook.traffic, run.inventory.service

    def spec(host: Host) -> TrafficSpec:
        address, port = way.addresses[host.name]
        shown = f"[{address}]" if ":" in address else address
        return TrafficSpec(
            url=f"http://{shown}:{port}{service.paths.predict}",
            rate=rate / len(hosts),
            images=tuple(str(path) for path in images(run.playbook)),
            timeout=traffic.timeout_seconds,
            lanes=way.lanes,
            zone_header=service.zone_header,
            host_header=service.host_header,
        )

    with contextlib.ExitStack() as stack:
        begun, mark = time.monotonic(), gateway.access_mark()
        loads = each(
            hosts,
            lambda host: stack.enter_context(
                Traffic.start(spec(host), run.folder / f"capacity-{host.name}-{number}.jsonl")
            ),
        )
        run.interrupt.sleep(plan.seconds)
        probes: dict[str, list[Probe]] = each(hosts, lambda host: loads[host.name].stop())
        served = gateway.served_since(mark)
        elapsed = time.monotonic() - begun
    clients = None if served.by_address is None else sum(served.by_address.values()) / elapsed
    found = (probe for asked in probes.values() for probe in asked)
    return carried(rate, run.inventory.zone("standby").name, found), clients
