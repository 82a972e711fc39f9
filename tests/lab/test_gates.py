"""Gates and stop conditions on real hosts: what is refused changes nothing, what is stopped is put back at once."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from estate import ON_MACHINES, Drilled, Estate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drillctl.lab import Lab

pytestmark = ON_MACHINES

LEASES = "ls -A /var/lib/drillctl/$(hostname) | grep -v '^epoch$' | cat"


@pytest.fixture
def estate(lab: Lab, tmp_path: Path) -> Iterator[Estate]:
    """An estate in its steady state; whatever is refused or stopped, it is the same afterwards, no lease is held."""
    made = Estate(lab, tmp_path)
    made.start_servers()
    before = made.state()
    assert made.serving_zone() == "zone-a"
    yield made
    assert made.state() == before
    assert made.serving_zone() == "zone-a"
    for host in ("gateway", "zone-a-1", "zone-b-1"):
        assert made.on(host, LEASES) == ""


def with_stop(estate: Estate, stop: str, *more: tuple[str, str]) -> Path:
    """Return the quick playbook with stop conditions."""
    text = estate.playbook.read_text().replace("start: {", f"stop: {{{stop}}}\nstart: {{")
    for before, after in more:
        assert before in text
        text = text.replace(before, after)
    path = estate.folder / "stopping.yaml"
    path.write_text(text)
    return path


def production(document: dict[str, Any]) -> None:
    document["environment"] = "production"


def gate(report: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a gate of a report by name."""
    return next(g for g in report["gates"] if g["name"] == name)


def stopped(done: Drilled, why: str) -> None:
    """Check that a drill was stopped by that condition, and put everything back."""
    assert done.code == 5, done.err
    report = done.report
    assert report["verdict"] == "aborted"
    assert report["reason"].startswith(f"stopped by a stop condition: {why}"), report["reason"]
    assert report["restore"]["left"] == []
    assert report["restore"]["config_identical"] in {True, None}


# ---- gates


def test_production_is_not_drilled_by_yes_alone(estate: Estate) -> None:
    inventory = estate.changed_inventory(production)
    pids = [estate.pid(host) for host in ("zone-a-1", "zone-b-1")]
    done = estate.finish(estate.start_drill(inventory))
    assert done.code == 2
    assert "--yes is not enough" in done.err
    assert [estate.pid(host) for host in ("zone-a-1", "zone-b-1")] == pids
    assert not list(estate.home.glob("runs/*"))


def test_production_is_drilled_once_its_name_is_given(estate: Estate) -> None:
    inventory = estate.changed_inventory(production)
    done = estate.run("run", str(estate.playbook), "--inventory", str(inventory), "--confirm", "lab-systemd", "--json")
    assert done.code == 0, done.err
    assert done.report["environment"] == "production"
    assert all(found["passed"] for found in done.report["gates"])
    assert "straight from this machine" in gate(done.report, "capacity")["found"]


def test_a_second_drill_waits_for_the_minimum_time_and_a_killed_one_counts(estate: Estate) -> None:
    def paced(document: dict[str, Any]) -> None:
        document["gates"] = {"minimum_hours_between_drills": 1}

    inventory = estate.changed_inventory(paced)
    process = estate.start_drill(inventory)
    estate.wait_for_step("fault")
    process.kill()
    process.communicate(timeout=10)
    refused = estate.drill(inventory)
    assert refused.code == 4, refused.err
    assert "interval: the last one, " in refused.report["reason"]
    assert gate(refused.report, "lease")["passed"] is None
    forced = estate.run("recover")
    assert forced.code == 0, forced.err
    words = ["--override-gate", "interval", "--reason", "the first one was killed on purpose"]
    done = estate.finish(
        estate.start("run", str(estate.playbook), "--inventory", str(inventory), "--yes", "--json", *words)
    )
    assert done.code == 0, done.err
    assert any("interval overridden (the first one was killed on purpose)" in d for d in done.report["deviations"])


def test_the_standby_is_loaded_through_the_gateway_as_well(estate: Estate) -> None:
    playbook = with_stop(estate, "time_box_seconds: 300", ("{seconds: 1}", "{seconds: 2, way: gateway}"))
    done = estate.drill(playbook=playbook)
    assert done.code == 0, done.err
    found = gate(done.report, "capacity")["found"]
    assert "through SSH by gateway, where a health check takes" in found


def test_a_standby_that_is_too_slow_refuses_the_drill(estate: Estate) -> None:
    pid = estate.pid("zone-a-1")
    playbook = with_stop(estate, "time_box_seconds: 300", ("{seconds: 1}", "{seconds: 1, p99_seconds: 0.001}"))
    done = estate.drill(playbook=playbook)
    assert done.code == 4, done.err
    assert "the standby cannot carry 20 requests a second: the p99 is" in done.report["reason"]
    assert estate.pid("zone-a-1") == pid


def test_ctrl_c_while_the_standby_is_loaded(estate: Estate) -> None:
    playbook = with_stop(estate, "time_box_seconds: 300", ("{seconds: 1}", "{seconds: 60}"))
    process = estate.start_drill(playbook=playbook)
    estate.wait_for(lambda: '"event": "intent", "step": "capacity"' in estate.journal())
    estate.wait_for(lambda: any(file.stat().st_size for file in estate.home.glob("runs/*/capacity-*")))
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    done = estate.finish(process)
    assert done.code == 5, done.err
    assert time.monotonic() - begun < 20
    assert done.report["restore"]["verdict"] == "nothing to restore"


# ---- stop conditions


def test_one_lost_request_too_many(estate: Estate) -> None:
    done = estate.drill(playbook=with_stop(estate, "failed_requests: 1"))
    stopped(done, "")
    assert "failed requests, 1 are allowed" in done.report["reason"]


def test_a_time_box_that_is_too_short(estate: Estate) -> None:
    observed = ("observation_seconds: 1", "observation_seconds: 8")
    done = estate.drill(playbook=with_stop(estate, "time_box_seconds: 6", observed))
    stopped(done, "the time box: 6 s have gone by")
    restoring = [s["started"] for s in done.report["steps"] if s["section"] == "restore"]
    assert 6 <= min(restoring) < 12, "it was heard at once"


def test_an_outage_that_lasts_too_long(estate: Estate) -> None:
    def break_reload(document: dict[str, Any]) -> None:
        # It says 0 and does nothing, until the file is gone.
        words = ["sh", "-c", "test -e /run/no-reload && rm /run/no-reload || nginx -s reload"]
        document["gateway"]["reload"] = words

    estate.on("gateway", "touch /run/no-reload")
    patient = ("{step: switch, within_seconds: 10}", "{step: switch, within_seconds: 60}")
    done = estate.drill(estate.changed_inventory(break_reload), with_stop(estate, "outage_seconds: 1.5", patient))
    stopped(done, "an outage of ")
    # Heard at once, though the switch may take a minute.
    assert next(s for s in done.report["steps"] if s["name"] == "switch")["seconds"] < 10


@pytest.mark.parametrize("step", ["traffic", "verify"])
def test_a_standby_that_dies(estate: Estate, step: str) -> None:
    """Before the fault, while the baseline is measured, and after the switch, while it serves."""
    playbook = with_stop(
        estate,
        "standby_failures: 2",
        ("baseline_seconds: 1, observation_seconds: 1", "baseline_seconds: 20, observation_seconds: 1")
        if step == "traffic"
        else ("observation_seconds: 1", "observation_seconds: 6"),
    )
    process = estate.start_drill(playbook=playbook)
    estate.wait_for(lambda: f'"event": "intent", "step": "{step}"' in estate.journal())
    estate.on("zone-b-1", "systemctl stop inference")
    begun = time.monotonic()
    done = estate.finish(process)
    took = time.monotonic() - begun
    estate.on("zone-b-1", "systemctl start inference")
    estate.start_servers()
    stopped(done, "an unhealthy standby, 2 times in a row: zone-b-1: ")
    names = {s["name"] for s in done.report["steps"]}
    assert ("fault" in names) is (step == "verify")
    assert took < 60


def test_errors_after_the_switch_are_not_what_the_fault_is_for(estate: Estate) -> None:
    playbook = with_stop(
        estate,
        "error_rate: 0.2, window_seconds: 2, standby_failures: 600",
        ("observation_seconds: 1", "observation_seconds: 6"),
    )
    process = estate.start_drill(playbook=playbook)
    estate.wait_for_step("switch")
    time.sleep(2)
    estate.on("zone-b-1", "systemctl stop inference")
    done = estate.finish(process)
    estate.on("zone-b-1", "systemctl start inference")
    estate.start_servers()
    stopped(done, "")
    assert "failed outside of the expected outage, 20% are allowed" in done.report["reason"]


def test_clients_that_wait_too_long_before_anything_is_broken(estate: Estate) -> None:
    playbook = with_stop(
        estate, "p99_seconds: 0.001, window_seconds: 1", ("baseline_seconds: 1", "baseline_seconds: 20")
    )
    pid = estate.pid("zone-a-1")
    done = estate.drill(playbook=playbook)
    stopped(done, "a p99 of ")
    assert estate.pid("zone-a-1") == pid, "nothing was broken"
