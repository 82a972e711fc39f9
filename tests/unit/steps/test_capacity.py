"""capacity: a real prober loads a real server; one that is slow, fails, or is another one refuses the drill."""

from __future__ import annotations

import http.server
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from drillctl.capacity import CapacityPlan
from drillctl.errors import Aborted, NotStarted
from drillctl.gateway.scripted import ScriptedGateway
from drillctl.hosts.fleet import Fleet
from drillctl.hosts.local import LocalTransport
from drillctl.steps import capacity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drillctl.run import Run

CONFIG = b"upstream recognition {\n    server 10.0.1.1:8000;\n    # server 10.0.2.1:8000;\n}\n"
SECONDS = 0.6


class Server(http.server.ThreadingHTTPServer):
    """The standby's server: a test sets its `delay` (seconds), the zone that it says it is in, and its status.

    `status_of` is given the number of the request, from 1.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        self.delay = 0.0
        self.status_of: Callable[[int], int] = lambda _: 200
        self.lock = threading.Lock()
        self.called = "zone-b"
        self.posts: list[float] = []
        self.on_post: Callable[[], None] = lambda: None
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = 200
        if body:
            with self.server.lock:
                self.server.posts.append(time.monotonic())
                status = self.server.status_of(len(self.server.posts))
                self.server.on_post()
            time.sleep(self.server.delay)
        self.send_response(status)
        self.send_header("X-Served-Zone", self.server.called)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST = answer  # noqa: N815 - the names that http.server looks for

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        threading.Thread(target=made.serve_forever).start()
        yield made
        made.shutdown()


@pytest.fixture
def loaded(make_run: Callable[..., Run], server: Server) -> Callable[..., Run]:
    """Return a function that makes a run whose standby is that server."""

    def make(**plan: Any) -> Run:
        run = make_run()
        primary, standby = (run.inventory.zone(role) for role in ("primary", "standby"))
        (host,) = standby.hosts
        there = host.model_copy(update={"upstream": f"127.0.0.1:{server.server_address[1]}"})
        standby = standby.model_copy(update={"hosts": (there,)})
        run.inventory = run.inventory.model_copy(update={"zones": (primary, standby)})
        traffic = run.playbook.traffic.model_copy(update={"rate": 50.0, "slow_seconds": 1.0, "timeout_seconds": 5.0})
        wanted = CapacityPlan(seconds=SECONDS, **plan)
        run.playbook = run.playbook.model_copy(update={"capacity": wanted, "traffic": traffic})
        run.fleet = Fleet(run.inventory, {name: LocalTransport(name) for name in ("gateway", "a-1", "b-1")})
        run.gateway = ScriptedGateway(run.inventory, CONFIG)
        return run

    return make


def test_a_standby_that_carries_the_rate_passes_and_says_how_it_was_measured(
    loaded: Callable[..., Run], server: Server
) -> None:
    told = capacity.check(loaded())
    sent = int(told.split()[0])
    assert sent >= 10
    assert told.startswith(f"{sent} of {sent} requests at 50/s, p99 ")
    assert told.endswith("; straight from this machine; clients ask 0/s of the gateway")
    # Beside them, one of each lane that warms up is not counted.
    assert len(server.posts) == sent + 2


def test_through_the_gateways_host_it_says_what_that_way_takes(loaded: Callable[..., Run]) -> None:
    told = capacity.check(loaded(way="gateway"))
    assert "; through SSH by gateway, where a health check takes " in told


def test_a_standby_that_cannot_be_reached_from_here_is_loaded_through_the_gateways_host(
    loaded: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "_unreached", lambda *_: "no route")
    assert "through SSH by gateway" in capacity.check(loaded())
    with pytest.raises(NotStarted, match="b-1 cannot be loaded straight from this machine: no route"):
        capacity.check(loaded(way="direct"))


def test_a_slow_standby_refuses_the_drill(loaded: Callable[..., Run], server: Server) -> None:
    server.delay = 1.2
    with pytest.raises(
        NotStarted, match=r"cannot carry 50 requests a second: the p99 is \d{4} ms, 1000 ms are allowed"
    ):
        capacity.check(loaded())
    assert "at 50/s, p99 " in capacity.check(loaded(p99_seconds=4.5))


def test_a_standby_that_answers_with_errors_refuses_the_drill(loaded: Callable[..., Run], server: Server) -> None:
    server.status_of = lambda _: 503
    with pytest.raises(NotStarted, match=r"(\d+) of \1 requests failed \(\1 × status 503\)"):
        capacity.check(loaded())


def test_one_error_is_one_too_many(loaded: Callable[..., Run], server: Server) -> None:
    server.status_of = lambda number: 500 if number == 10 else 200
    with pytest.raises(NotStarted, match=r"1 of \d+ requests failed \(1 × status 500\)"):
        capacity.check(loaded())


def test_another_server_at_that_address_is_not_taken_for_it(loaded: Callable[..., Run], server: Server) -> None:
    server.called = "zone-c"
    with pytest.raises(NotStarted, match="zone-c answers at"):
        capacity.check(loaded(way="direct"))
    with pytest.raises(NotStarted, match="zone-c answered instead"):
        capacity.check(loaded(way="gateway"))


def test_what_clients_ask_meanwhile_has_to_be_carried_as_well(loaded: Callable[..., Run], server: Server) -> None:
    run = loaded(rate=30.0)
    gateway = run.gateway
    assert isinstance(gateway, ScriptedGateway)
    server.on_post = lambda: gateway.answer(2)
    told = capacity.check(run)
    rate = float(told.split(" requests at ")[1].split("/s")[0])
    clients = float(told.split("clients ask ")[1].split("/s")[0])
    assert clients > 5
    assert rate == pytest.approx(30 + clients, abs=1)
    files = sorted(path.name for path in run.folder.glob("capacity-*"))
    assert files == ["capacity-b-1-0.jsonl", "capacity-b-1-1.jsonl"]


def test_more_than_can_be_sent_refuses_the_drill_instead_of_loading_less(loaded: Callable[..., Run]) -> None:
    run = loaded()
    with pytest.raises(NotStarted, match="a load of 2500 requests a second cannot be made from here"):
        capacity._load(run, capacity.Way({}, "", ("keepalive",)), 2500.0, 0)


def test_a_stop_is_heard_while_the_load_runs_and_ends_it(loaded: Callable[..., Run], server: Server) -> None:
    run = loaded()
    run.playbook = run.playbook.model_copy(update={"capacity": CapacityPlan(seconds=30.0)})
    server.on_post = lambda: run.interrupt.ask("SIGINT")
    with pytest.raises(Aborted, match="stopped by SIGINT"):
        capacity.check(run)
    assert time.monotonic() - server.posts[0] < 15, "of the 30 that it would have taken"
    after = len(server.posts)
    time.sleep(0.3)
    assert len(server.posts) == after, "nothing is sent any more"
