"""The watchdog: what it sees stops the run once, quiet is quiet, and no end of its own goes unseen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

import pytest

from drillctl import watchdog as watchdogs
from drillctl.errors import Aborted, Unreachable
from drillctl.hosts.scripted import Page
from drillctl.stop import StopPlan
from drillctl.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Machine, Notes

    from drillctl.gateway.gateway import Staged
    from drillctl.run import Run

SICK = Page(b'{"status": "failed", "reason": "the GPU fell off the bus"}', 503)
HEALTHY = Page(b'{"status": "healthy", "uptime_sec": 1.5}')


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdogs, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(watchdogs, "ASK_EVERY", 0.01)


def planned(run: Run, **plan: Any) -> Run:
    run.playbook = run.playbook.model_copy(update={"stop": StopPlan(**plan)})
    return run


def armed(run: Run) -> Run:
    run.staged = cast("Staged", object())
    return run


def stopped(run: Run) -> str:
    """Wait until the run is asked to stop, and return why."""
    with pytest.raises(Aborted) as caught:
        run.interrupt.sleep(10)
    return caught.value.message


def test_the_time_box_stops_a_run_before_it_is_connected(make_run: Callable[..., Run]) -> None:
    run = planned(make_run(), time_box_seconds=0.05)
    with Watchdog(run):
        assert stopped(run) == (
            "stopped by a stop condition: the time box: 0.05 s have gone by and nothing is restored yet"
        )


def test_a_run_that_restores_is_left_alone(make_run: Callable[..., Run]) -> None:
    run = planned(make_run(), time_box_seconds=0.05)
    run.section = "restore"
    with Watchdog(run):
        time.sleep(0.2)
    assert not run.interrupt.asked


def test_a_standby_that_is_unhealthy_often_enough_in_a_row_stops_it(
    connected: Run, machines: dict[str, Machine]
) -> None:
    machines["b-1"].pages = [SICK]
    run = armed(planned(connected, standby_failures=2))
    with Watchdog(run):
        why = stopped(run)
    assert why == (
        "stopped by a stop condition: an unhealthy standby, 2 times in a row: b-1: its health is `failed`: "
        "the GPU fell off the bus"
    )
    assert cast("Notes", run.watcher).notes == [why.removeprefix("stopped by ")], "it is said once"


def test_a_sick_primary_is_what_a_drill_is_about(connected: Run, machines: dict[str, Machine]) -> None:
    machines["a-1"].pages = [SICK]
    watchdog = Watchdog(armed(planned(connected, standby_failures=1)))
    assert watchdog.ask_standby() is None


def test_only_failures_in_a_row_count(connected: Run, machines: dict[str, Machine]) -> None:
    machines["b-1"].pages = [SICK, HEALTHY, SICK, SICK]
    watchdog = Watchdog(armed(planned(connected, standby_failures=2)))
    assert [watchdog.ask_standby() is None for _ in range(4)] == [True, True, True, False]


def test_a_standby_that_cannot_be_asked_is_not_healthy(connected: Run, machines: dict[str, Machine]) -> None:
    machines["b-1"].serving = False
    watchdog = Watchdog(armed(planned(connected, standby_failures=1)))
    found = watchdog.ask_standby()
    assert found is not None
    assert found.startswith("an unhealthy standby, 1 times in a row: b-1: 10.0.2.1:8000/health gave no answer")


def test_hosts_are_left_alone_before_it_is_armed_and_while_it_is_quiet(connected: Run) -> None:
    assert connected.fleet is not None
    gateway = cast("Any", connected.fleet["gateway"])
    watchdog = Watchdog(planned(connected))
    watchdog.ask_standby()
    armed(connected)
    watchdog.quiet(True)
    watchdog.ask_standby()
    assert gateway.asked == []
    watchdog.quiet(False)
    watchdog.ask_standby()
    assert gateway.asked == ["10.0.2.1:8000/health"]


def test_a_lost_gateway_counts_as_a_standby_that_cannot_be_asked(connected: Run) -> None:
    assert connected.fleet is not None
    cast("Any", connected.fleet["gateway"]).fail = Unreachable("the connection is closed", host="gateway")
    watchdog = Watchdog(armed(planned(connected, standby_failures=1)))
    assert "the connection is closed" in (watchdog.ask_standby() or "")


def test_a_bug_in_a_watch_stops_the_run_instead_of_the_watch(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Watchdog) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(Watchdog, "look", broken)
    run = make_run()
    with Watchdog(run):
        assert "a bug in drillctl while it watched: ZeroDivisionError: oops" in stopped(run)


def test_what_cannot_be_said_stops_the_run_all_the_same(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()

    def dead(_: str) -> None:
        raise SystemExit(1)

    monkeypatch.setattr(run.watcher, "note", dead)
    with pytest.raises(SystemExit):
        run.stop("a stop condition")
    assert run.interrupt.asked


def test_after_its_block_it_stops_nothing(make_run: Callable[..., Run]) -> None:
    run = planned(make_run(), time_box_seconds=0.2)
    with Watchdog(run):
        pass
    time.sleep(0.4)
    assert not run.interrupt.asked
