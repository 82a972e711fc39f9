"""The judgement whether a reload is in force, on hand-made processes."""

from __future__ import annotations

import pytest

from drillctl.gateway.nginx_processes import Processes, Worker, missing_proof, read_processes, younger_than

MASTER = (100, 5000)


def stat_line(pid: int, parent: int, start: int, name: str = "nginx") -> str:
    return f"{pid} ({name}) S {parent} {' '.join(['0'] * 17)} {start} 11 22\n"


def processes(*workers: tuple[int, bool]) -> Processes:
    return Processes(MASTER, tuple(Worker(pid, 6000 + pid, finishing) for pid, finishing in workers))


def proof(
    now: Processes, *, before: tuple[int, ...] = (1, 2), emergencies: tuple[str, ...] = (), reloaded: bool = True
) -> str | None:
    return missing_proof(master=MASTER, before=before, now=now, emergencies=emergencies, reloaded=reloaded)


def test_workers_are_read_with_their_start_and_state_and_other_children_are_not() -> None:
    shown = (
        stat_line(100, 1, 5000)
        + stat_line(201, 100, 7000)
        + stat_line(202, 100, 7001, name="nginx (odd) name")
        + stat_line(203, 100, 7002)
        + stat_line(204, 99, 7003)
        + "/proc/201/cmdline:nginx: worker process\0\0\n"
        + "/proc/202/cmdline:nginx: worker process is shutting down\0\n"
        + "/proc/203/cmdline:nginx: cache manager process\0\n"
        + "/proc/204/cmdline:nginx: worker process\0\n"
        + "/proc/205/cmdline:nginx: worker process\0\n"
    )
    assert read_processes(shown) == Processes(MASTER, (Worker(201, 7000, False), Worker(202, 7001, True)))


def test_nothing_shown_means_that_nothing_runs() -> None:
    assert read_processes("") == Processes((0, 0), ())


def test_new_workers_with_the_old_ones_finishing_or_gone_are_the_proof() -> None:
    assert proof(processes((1, True), (2, True), (3, False), (4, False))) is None
    assert proof(processes((3, False), (4, False))) is None


@pytest.mark.parametrize(
    ("now", "emergencies", "reason"),
    [
        (processes((1, False), (2, False)), (), "no new worker was started; still serving: 1, 2"),
        (processes((1, False), (3, False)), (), "old workers still take requests: 1"),
        (processes((1, True), (2, True)), (), "no worker serves"),
        (processes(), (), "no worker serves"),
        (Processes((0, 0), ()), (), "nginx does not run"),
        (Processes((100, 9999), (Worker(3, 1, False),)), (), "restarted, not reloaded"),
        (processes((3, False)), ("[emerg] bind() failed",), "its error log says: [emerg] bind() failed"),
    ],
)
def test_what_is_missing_is_named(now: Processes, emergencies: tuple[str, ...], reason: str) -> None:
    assert reason in (proof(now, emergencies=emergencies) or "")


def test_without_a_reload_serving_workers_are_enough() -> None:
    assert proof(processes((1, False)), before=(), reloaded=False) is None
    assert proof(processes((1, True)), before=(), reloaded=False) == "no worker serves"


def test_age_is_compared_on_one_clock_and_doubt_means_no() -> None:
    """The machine came up at 1000 s since the epoch; workers start at ticks 10000 (1100 s) and 10100 (1101 s)."""
    running = Processes(MASTER, (Worker(1, 10_000, False), Worker(2, 10_100, False), Worker(3, 10, True)))
    now, uptime = 1200.0, 200.0
    assert younger_than(running, 1099.9, now, uptime)
    assert not younger_than(running, 1100.5, now, uptime), "one worker is older"
    assert not younger_than(running, 1100.0, now, uptime), "within the clock's grain"
    assert not younger_than(running, 1000.0, now, 1.0), "starts in the future: another clock"
    assert not younger_than(Processes(MASTER, ()), 1000.0, now, uptime), "nobody serves"
