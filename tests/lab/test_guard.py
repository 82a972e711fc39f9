"""drillctl is killed in the middle of a drill, and nobody does anything: the guards bring service back."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from estate import CONFIG, Estate

from drillctl.lab import ground

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from drillctl.lab import Lab

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(
        bool(ground.missing(ground.FOR_MACHINES)) or ground.obstacle() is not None,
        reason="machines of their own cannot be had here",
    ),
]

TTL = 5
HOSTS = ("gateway", "zone-a-1", "zone-b-1")
READY = 40
"""Seconds that a model server may take to be ready on a busy machine; the guard cannot make it faster."""


def left_of_guards(estate: Estate) -> str:
    """Return every file, unit and process of the guards on the hosts; the counter of the epoch may stay."""
    script = (
        "ls -A /var/lib/drillctl/$(hostname) | grep -v '^epoch$';"
        " systemctl list-units --all --plain --no-legend 'drillctl*';"
        " ls /etc/systemd/system /etc/systemd/system/multi-user.target.wants /run/systemd/transient | grep drillctl;"
        " grep -l -a 'guard[.]sh' /proc/[0-9]*/cmdline"
    )
    return "".join(estate.on(host, f"{script} | cat", check=False) for host in HOSTS)


@pytest.fixture
def estate(lab: Lab, tmp_path: Path) -> Iterator[Estate]:
    """An estate in its steady state; afterwards it is the same, every lease is free, and no guard is left."""
    made = Estate(lab, tmp_path)
    made.start_servers()
    before = made.state()
    assert made.serving_zone() == "zone-a"
    yield made
    assert made.state() == before
    assert made.serving_zone() == "zone-a"
    made.wait_for(lambda: left_of_guards(made) == "", 10)


def start(estate: Estate, ttl: int = TTL) -> subprocess.Popen[str]:
    """Start the quick drill with a short lease."""
    playbook = estate.changed_playbook("start: {", f"guard: {{ttl_seconds: {ttl}}}\nstart: {{")
    return estate.start_drill(playbook=playbook)


def kill_after(estate: Estate, step: str) -> float:
    """Start a drill, kill drillctl after a step, and return when."""
    process = start(estate)
    estate.wait_for_step(step)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    return time.monotonic()


def seconds_until(estate: Estate, condition: Callable[[], bool], since: float) -> float:
    """Wait for something and return how long after a moment it came."""
    estate.wait_for(condition, 60)
    return time.monotonic() - since


def elsewhere(estate: Estate, folder: Path) -> Estate:
    """Return the same estate as drillctl on another machine sees it: without a journal."""
    other = folder / "elsewhere"
    other.mkdir()
    return Estate(estate.lab, other)


def kill_watch(estate: Estate, host: str) -> None:
    """Kill the guard's process on a host."""
    find = "grep -l -a 'wat[c]h' /proc/[0-9]*/cmdline | cut -d/ -f3"
    assert estate.on(host, f"{find} | wc -l") == "1"
    estate.on(host, f"kill -9 $({find})")
    assert estate.on(host, f"{find} | wc -l") == "0"


def is_active(estate: Estate) -> bool:
    return estate.on("zone-a-1", "systemctl is-active inference || true") == "active"


def original_is_live(estate: Estate, digest: str) -> Callable[[], bool]:
    return lambda: estate.on("gateway", f"sha256sum < {CONFIG}").split()[0] == digest


def test_a_drill_leaves_nothing_of_its_guards(estate: Estate) -> None:
    done = estate.drill()
    assert done.code == 0, done.err
    epochs = [estate.on(host, "cat /var/lib/drillctl/$(hostname)/epoch") for host in HOSTS]
    assert all(int(epoch) >= 1 for epoch in epochs)
    # What follows is checked by the fixture; that this check sees a guard is shown by the next tests.


def test_a_primary_that_a_killed_drill_broke_comes_back_by_itself(estate: Estate) -> None:
    killed = kill_after(estate, "fault")
    assert not is_active(estate)
    assert "guard.sh" in left_of_guards(estate)
    assert seconds_until(estate, lambda: is_active(estate), killed) <= TTL + 5
    estate.wait_for(lambda: estate.serving_zone() == "zone-a", READY)
    done = estate.run("recover")
    assert done.code == 0, done.err


def test_a_gateway_that_a_killed_drill_switched_goes_back_once_the_primary_answers(estate: Estate) -> None:
    digest = estate.on("gateway", f"sha256sum < {CONFIG}").split()[0]
    killed = kill_after(estate, "switch")
    assert estate.serving_zone() == "zone-b"
    assert seconds_until(estate, lambda: is_active(estate), killed) <= TTL + 5
    # Nobody is sent to the primary before it answers: all this time, clients get answers.
    statuses = []
    while not original_is_live(estate, digest)():
        statuses.append(estate.serving_zone())
        assert time.monotonic() - killed < READY
    assert set(statuses) == {"zone-b"}
    estate.wait_for(lambda: estate.serving_zone() == "zone-a", 5)
    done = estate.run("recover")
    assert done.code == 0, done.err


def test_a_timer_does_it_when_the_guards_processes_are_killed_as_well(estate: Estate) -> None:
    killed = kill_after(estate, "fault")
    for host in HOSTS:
        kill_watch(estate, host)
    assert seconds_until(estate, lambda: is_active(estate), killed) <= TTL + 5
    estate.wait_for(lambda: estate.serving_zone() == "zone-a", READY)
    assert estate.run("recover").code == 0


def test_a_second_drill_is_told_who_holds_the_lease(estate: Estate, tmp_path: Path) -> None:
    process = start(estate, ttl=10)
    estate.wait_for_step("connect")
    begun = time.monotonic()
    other = elsewhere(estate, tmp_path)
    second = other.drill()
    assert time.monotonic() - begun < 10
    # Neither does `recover` take a lease from a drill that runs, with its journal or without.
    there = other.run("recover", "--inventory", str(estate.inventory))
    here = Estate(estate.lab, tmp_path / "elsewhere")
    here.home = estate.home
    with_journal = here.run("recover")
    first = estate.finish(process)
    assert (there.code, with_journal.code) == (4, 4)
    assert "another drill holds the lease" in there.err
    assert "still runs on this machine" in with_journal.err
    assert second.code == 4, second.err
    reason = second.report["reason"]
    assert first.report["run_id"] in reason
    assert f"pid {process.pid}" in reason
    assert "since" in reason
    assert "until" in reason
    assert first.code == 0, first.err


def test_recover_needs_nothing_but_the_inventory(estate: Estate, tmp_path: Path) -> None:
    kill_after(estate, "switch")
    for host in HOSTS:
        # Neither of the two that would act by themselves.
        estate.on(host, f"systemctl stop drillctl-guard-{host}.timer")
        kill_watch(estate, host)
    other = elsewhere(estate, tmp_path)
    inventory = ("--inventory", str(estate.inventory))
    shown = other.run("lease", "show", *inventory)
    assert shown.code == 0
    assert "gateway.restore" in shown.out
    assert "service.revive" in shown.out
    done = other.run("recover", *inventory)
    assert done.code == 0, done.err
    assert "gateway.restore" in done.err
    assert estate.serving_zone() == "zone-a"
    again = other.run("recover", *inventory)
    assert again.code == 0
    assert "Nothing to put back" in again.out
    assert estate.run("recover").code == 0
    assert estate.run("lease", "break", "--id", "no-such-run", *inventory).code == 2


def test_a_drill_that_slept_through_its_lease_stops_when_it_wakes(estate: Estate) -> None:
    process = start(estate)
    estate.wait_for_step("traffic")
    os.kill(process.pid, signal.SIGSTOP)
    try:
        estate.wait_for(lambda: left_of_guards(estate) == "", TTL + 10)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    done = estate.finish(process)
    assert done.code == 5, done.err
    assert "lease" in done.report["reason"]
    assert estate.serving_zone() == "zone-a"


def test_a_broken_lease_stops_its_drill(estate: Estate, tmp_path: Path) -> None:
    process = start(estate)
    estate.wait_for_step("fault")
    run = max(estate.home.glob("runs/*")).name
    broken = elsewhere(estate, tmp_path).run("lease", "break", "--id", run, "--inventory", str(estate.inventory))
    assert broken.code in {0, 6}, broken.err
    done = estate.finish(process)
    # It hears of the broken lease, or first sees that somebody brought the primary back: either way it stops. Where
    # it hears of it only while it restores, it goes on restoring, and has proven nothing.
    assert done.code in {3, 5}, done.err
    assert "lease" in done.report["reason"] or "did not last" in done.report["reason"]


def test_a_lease_that_is_broken_while_its_drill_restores_is_told(estate: Estate, tmp_path: Path) -> None:
    process = start(estate)
    estate.wait_for_step("verify")
    run = max(estate.home.glob("runs/*")).name
    broken = elsewhere(estate, tmp_path).run("lease", "break", "--id", run, "--inventory", str(estate.inventory))
    assert broken.code in {0, 6}, broken.err
    done = estate.finish(process)
    assert done.code == 3, done.err
    assert "lease" in done.report["reason"]
