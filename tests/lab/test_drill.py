"""Drills on real hosts: what happened is checked from outside drillctl, and each sabotage is told from a success."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from estate import CONFIG, MODEL, ON_MACHINES, Estate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drillctl.lab import Lab

pytestmark = ON_MACHINES


@pytest.fixture
def estate(lab: Lab, tmp_path: Path) -> Iterator[Estate]:
    """An estate in its steady state; whatever a test does, it must be the same afterwards."""
    made = Estate(lab, tmp_path)
    made.start_servers()
    before = made.state()
    assert made.serving_zone() == "zone-a"
    yield made
    assert made.state() == before
    assert made.serving_zone() == "zone-a"


class Client:
    """A client of its own, beside drillctl's traffic: it asks the gateway all the time and counts what it gets."""

    def __init__(self, url: str) -> None:
        self.statuses: list[int] = []
        self._url = f"{url}/info"
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._done.wait(0.02):
            try:
                self.statuses.append(requests.get(self._url, timeout=5).status_code)
            except requests.RequestException:
                self.statuses.append(0)


def step(report: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a step of a report by name."""
    return next(s for s in report["steps"] if s["name"] == name)


def test_a_drill_kills_switches_and_puts_everything_back(estate: Estate) -> None:
    pid = estate.pid("zone-a-1")
    logged = int(estate.on("gateway", "wc -l < /var/log/nginx/recognition.access.log"))
    with Client(estate.lab.url) as client:
        done = estate.drill()
    assert done.code == 0, done.err
    report = done.report
    assert report["verdict"] == "passed"
    assert all(objective["met"] for objective in report["objectives"])
    # The fault happened: another process serves now, and clients outside drillctl saw errors as well.
    assert estate.pid("zone-a-1") != pid
    assert any(status != 200 for status in client.statuses)
    # The switch happened: the gateway's own log names the standby.
    log = estate.on("gateway", f"tail -n +{logged + 1} /var/log/nginx/recognition.access.log")
    by_standby = sum("198.18.77.12:8080" in line for line in log.splitlines())
    assert by_standby >= report["traffic"]["by_zone"]["zone-b"] > 50
    # What clients lost is what the log says they lost.
    assert report["traffic"]["failed"] > 0
    recovery = report["recovery"]
    assert 0 < recovery["outage_seconds"] <= 1.0, recovery
    assert 0 < recovery["uncertainty_seconds"] < 1.0
    parts = recovery["detection_seconds"] + recovery["switch_seconds"] + recovery["answer_seconds"]
    assert parts == pytest.approx(recovery["outage_seconds"], abs=0.001)
    assert report["equality"]["identical"] == report["equality"]["compared"] >= 32
    assert report["restore"] == {
        **report["restore"],
        "verdict": "complete",
        "failed_requests": 0,
        "config_identical": True,
        "left": [],
    }


def test_a_drill_leaves_a_report_and_evidence_that_agree_with_the_hosts(estate: Estate) -> None:
    done = estate.drill()
    assert done.code == 0, done.err
    report = done.report
    folder = Path(report["folder"])
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert json.loads((folder / "report.json").read_text(encoding="utf-8")) == report
    # What the report says of the hosts is what they say of themselves.
    machines = {machine["name"]: machine for machine in report["context"]["machines"]}
    for name in ("gateway", "zone-a-1", "zone-b-1"):
        assert machines[name]["machine_id"] == estate.on(name, "cat /etc/machine-id").strip()
        assert machines[name]["boot_id"] == estate.on(name, "cat /proc/sys/kernel/random/boot_id").strip()
        # All of them have the clock of the machine below.
        assert abs(machines[name]["clock_offset_seconds"]) <= machines[name]["clock_error_seconds"] + 0.01
    assert machines["gateway"]["software"]["nginx"] in estate.on("gateway", "nginx -v 2>&1")
    assert machines["zone-a-1"]["software"]["torch"]
    live = estate.on("gateway", f"sha256sum < {CONFIG}").split()[0]
    for when in ("before", "after"):
        assert hashlib.sha256((folder / when / "gateway.conf").read_bytes()).hexdigest() == live
    line = report["timeline"]
    order = ["fault_began", "first_failed", "active", "sustained", "restore_began", "traffic_ended"]
    assert [line[name] for name in order] == sorted(line[name] for name in order)
    packed = estate.folder / "evidence.tar"
    assert estate.run("report", report["run_id"], "--bundle", "--output", str(packed)).code == 0
    checked = estate.run("verify-bundle", str(packed))
    assert checked.code == 3
    assert "the journal's chain is whole" in checked.out


def test_a_drill_starts_the_servers_that_do_not_run(estate: Estate) -> None:
    for host in ("zone-a-1", "zone-b-1"):
        estate.on(host, "systemctl stop inference")
    done = estate.drill()
    assert done.code == 0, done.err
    assert len(done.report["deviations"]) == 2


def test_an_altered_model_in_the_standby_refuses_the_drill_and_costs_no_request(estate: Estate) -> None:
    estate.on("zone-b-1", f"cp -a {MODEL} /root/kept")
    estate.on("zone-b-1", f"printf '\\001' | dd of={MODEL} bs=1 seek=100000 conv=notrunc status=none")
    pid = estate.pid("zone-a-1")
    try:
        with Client(estate.lab.url) as client:
            done = estate.drill()
    finally:
        estate.on("zone-b-1", f"mv /root/kept {MODEL}")
    assert done.code == 4
    assert done.report["verdict"] == "not-started"
    assert "zone-b-1" in done.report["reason"]
    assert done.report["restore"]["verdict"] == "nothing to restore"
    assert estate.pid("zone-a-1") == pid
    assert len(client.statuses) > 10
    assert set(client.statuses) == {200}


def test_a_kill_that_hits_something_else_is_inconclusive(estate: Estate) -> None:
    def decoy(document: dict[str, Any]) -> None:
        document["service"]["start"]["unit"] = "decoy.service"

    for host in ("zone-a-1", "zone-b-1"):
        unit = "[Service]\\nExecStart=sleep 600\\n"
        estate.on(
            host, f"printf '{unit}' > /run/systemd/system/decoy.service; systemctl daemon-reload; systemctl start decoy"
        )
    try:
        done = estate.drill(estate.changed_inventory(decoy))
    finally:
        for host in ("zone-a-1", "zone-b-1"):
            estate.on(host, "systemctl stop decoy; rm /run/systemd/system/decoy.service; systemctl daemon-reload")
    assert done.code == 3, done.err
    assert "the fault is not proven" in done.report["reason"]
    assert done.report["verdict"] != "passed"


def test_a_supervisor_that_brings_the_primary_back_makes_it_inconclusive(estate: Estate) -> None:
    process = estate.start_drill()
    estate.wait_for_step("switch")
    estate.on("zone-a-1", "systemctl start inference")
    done = estate.finish(process)
    assert done.code == 3, done.err
    assert "did not last" in done.report["reason"]


def test_a_reload_that_is_not_applied_fails_the_drill(estate: Estate) -> None:
    def break_reload(document: dict[str, Any]) -> None:
        # It says 0 and does nothing, until the file is gone.
        words = ["sh", "-c", "test -e /run/no-reload && rm /run/no-reload || nginx -s reload"]
        document["gateway"]["reload"] = words

    estate.on("gateway", "touch /run/no-reload")
    done = estate.drill(
        estate.changed_inventory(break_reload),
        estate.changed_playbook("{step: switch, within_seconds: 10}", "{step: switch, within_seconds: 2}"),
    )
    assert done.code == 1, done.err
    assert step(done.report, "switch")["status"] == "failed"
    assert done.report["restore"]["config_identical"] is True


def test_a_primary_that_does_not_come_back_leaves_clients_on_the_standby(estate: Estate) -> None:
    estate.on("zone-a-1", f"cp -a {MODEL} /root/kept")
    process = estate.start_drill()
    estate.wait_for_step("fault")
    estate.on("zone-a-1", f"truncate -s 100 {MODEL}")
    done = estate.finish(process)
    assert done.code == 6, done.err
    assert done.report["verdict"] == "restore-incomplete"
    assert any("stays on the standby" in what for what in done.report["restore"]["left"])
    assert estate.serving_zone() == "zone-b"
    again = estate.run("recover")
    assert again.code == 6, again.err
    assert estate.serving_zone() == "zone-b"
    # Once the cause is gone, the same command puts everything back.
    estate.on("zone-a-1", f"mv /root/kept {MODEL}")
    healed = estate.run("recover")
    assert healed.code == 0, healed.err


def test_ctrl_c_puts_everything_back(estate: Estate) -> None:
    process = estate.start_drill()
    estate.wait_for_step("fault")
    process.send_signal(signal.SIGINT)
    done = estate.finish(process)
    assert done.code == 5, done.err
    assert done.report["verdict"] == "aborted"


def test_what_a_killed_drill_leaves_is_put_back_by_recover(estate: Estate) -> None:
    process = estate.start_drill()
    estate.wait_for_step("switch")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    assert estate.serving_zone() == "zone-b"
    status = estate.run("status", "--inventory", str(estate.inventory), "--json")
    assert status.code == 4
    assert status.report["gateway"]["serving_zone"] == "zone-b"
    refused = estate.drill()
    assert refused.code == 4
    assert "recover" in refused.report["hint"]
    done = estate.run("recover")
    assert done.code == 0, done.err
    assert "Everything is put back" in done.out
    assert "nothing" in estate.run("recover").out or "No run" in estate.run("recover").out


def test_status_says_what_is_so(estate: Estate) -> None:
    done = estate.run("status", "--inventory", str(estate.inventory), "--json")
    assert done.code == 0, done.out
    document = done.report
    assert document["ok"] is True
    assert {host["name"] for host in document["hosts"]} == {"zone-a-1", "zone-b-1"}
    for host in document["hosts"]:
        assert set(host) == {"name", "zone", "role", "address", "health", "ready", "uptime_sec", "device", "model"}
        assert host["ready"] is True
        assert host["model"]["sha256_disk"] == host["model"]["sha256_loaded"] == estate.lab.model_sha256
    assert document["gateway"]["configured_zone"] == document["gateway"]["serving_zone"] == "zone-a"
    assert document["gateway"]["hosts"] == [{"name": "gateway", "reachable": True}]


def test_the_plan_touches_nothing(estate: Estate) -> None:
    done = estate.run("run", str(estate.playbook), "--inventory", str(estate.inventory), "--plan")
    assert done.code == 0
    assert CONFIG in done.out
    assert not list(estate.home.glob("runs/*"))


def test_nobody_needs_to_wait_for_a_stopped_drill(estate: Estate) -> None:
    process = estate.start_drill()
    estate.wait_for_step("connect")
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    done = estate.finish(process)
    assert done.code == 5, done.err
    assert time.monotonic() - begun < 20
