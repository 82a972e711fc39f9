"""Every playbook that ships, and every fault, on real hosts: it is proven, it is undone, nothing is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from estate import MODEL, ON_MACHINES, Estate

from drillctl import playbook as playbooks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drillctl.lab import Lab

pytestmark = [*ON_MACHINES, pytest.mark.timeout(400)]

IMAGES = playbooks.builtin()["zone-failover"].parent / "images"

LONG = pytest.mark.long

SHIPPED = [
    "planned-switchover",
    "zone-hang",
    "standby-dies-too",
    *(
        pytest.param(name, marks=LONG)
        for name in (
            "zone-failover",
            "zone-partition",
            "lossy-zone",
            "model-corruption",
            "bad-upgrade",
            "cold-standby",
            "detection-only",
            "false-alarm",
        )
    ),
]

TRACES = (
    "nft list tables 2>/dev/null | grep drillctl; ls -A /run/systemd/system | grep inference;"
    " find / -xdev -name '.drillctl-*' 2>/dev/null; ls -A /var/lib/drillctl/* | grep -v epoch;"
    " ps -eo args | grep '[d]rillctl-slow'"
)


@pytest.fixture(scope="module")
def hosts(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Estate:
    made = Estate(lab, tmp_path_factory.mktemp("playbooks"))
    made.start_servers()
    return made


@pytest.fixture
def estate(hosts: Estate) -> Iterator[Estate]:
    """An estate in its steady state; afterwards it must be the same, and no host may hold a trace of the drill."""
    hosts.start_servers()
    before = unnumbered(hosts.state())
    assert hosts.serving_zone() == "zone-a"
    yield hosts
    assert unnumbered(hosts.state()) == before
    assert hosts.serving_zone() == "zone-a"
    for host in ("gateway", "zone-a-1", "zone-b-1"):
        traces = [line for line in hosts.on(host, TRACES, check=False).splitlines() if "/var/lib/drillctl" not in line]
        assert [line for line in traces if line.strip()] == [], host


def unnumbered(state: dict[str, str]) -> dict[str, str]:
    """Return what must be the same without the gateway's main pid, which a restart changes: its last line."""
    return {**state, "gateway": state["gateway"].rpartition("\n")[0]}


def drill(estate: Estate, name: str, *words: str, inventory: Path | None = None) -> dict[str, object]:
    """Drill a playbook by name or path; return its report."""
    done = estate.run("run", name, "--inventory", str(inventory or estate.inventory), "--yes", "--json", *words)
    assert done.out, done.err
    return {**done.report, "stderr": done.err, "code": done.code}


def test_a_gateway_that_is_restarted_serves_again(estate: Estate) -> None:
    report = drill(estate, "gateway-restart", "--var", "rate=20")
    assert report["verdict"] == "passed", report["stderr"]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_playbook_passes(estate: Estate, name: str) -> None:
    report = drill(estate, name, "--var", "rate=20")
    assert report["verdict"] == "passed", report["stderr"]
    assert all(objective["met"] for objective in report["objectives"])  # type: ignore[attr-defined]


def book(estate: Estate, fault: str, *, detect: str = "failures: 3", switch: bool = True, extra: str = "") -> Path:
    """Write a playbook around a fault."""
    switching = "  - {step: switch, within_seconds: 20}\n  - {step: verify, zone: standby}\n" if switch else ""
    restoring = "  - step: failback\n" if switch else ""
    path = estate.folder / "fault.yaml"
    path.write_text(
        f"""
name: fault
description: one fault
objectives: {{restore_failed_requests: null{"" if switch else ", rto_seconds: null"}}}
expects: {{serving: {"standby" if switch else "primary"}}}
traffic: {{rate: 20, images: {IMAGES}, baseline_seconds: 1, observation_seconds: 1}}
steps:
  - {{step: fault, {fault}}}
{extra}  - {{step: detect, {detect}, within_seconds: 20}}
{switching}restore:
  - {{step: heal, ready_seconds: 60}}
{restoring}  - {{step: verify, zone: primary}}
"""
    )
    return path


QUICK = ("reject", "slow", "model deleted")

FAULTS = {
    "stop": "fault: stop",
    "reject": "fault: reject",
    "partition of clients": "fault: partition, from: clients",
    "crash loop": "fault: crash-loop",
    "model deleted": "fault: model, how: deleted",
    "reboot": "fault: reboot",
    "slow": "fault: slow, share: 0.02",
    "command": (
        "fault: command, inject: [systemctl, kill, --signal=STOP, inference], "
        "prove: [sh, -c, 'grep -q \"State:.T\" /proc/$(systemctl show -p MainPID --value inference)/status'], "
        "undo: [systemctl, kill, --signal=CONT, inference]"
    ),
}


@pytest.mark.parametrize(
    "fault",
    [pytest.param(words, id=name, marks=() if name in QUICK else LONG) for name, words in FAULTS.items()],
)
def test_a_fault_is_proven_noticed_and_undone(estate: Estate, fault: str) -> None:
    # Commands of a playbook's own are none that an administrator installed.
    inventory = estate.by_sudo() if "command" in fault else None
    path = book(estate, fault, detect="failures: 3, slow_seconds: 0.5")
    report = drill(estate, str(path), inventory=inventory)
    assert report["verdict"] == "passed", report["stderr"]
    assert report["traffic"]["by_zone"]["zone-b"] > 0  # type: ignore[index]


def test_a_full_disk_is_filled_and_emptied(estate: Estate) -> None:
    estate.on("zone-a-1", "mkdir -p /srv/spare && mount -t tmpfs -o size=8m,mode=755 tmpfs /srv/spare")
    try:
        fault = "fault: disk-full, path: /srv/spare"
        path = book(estate, fault, detect="expect: nothing", switch=False)
        report = drill(estate, str(path), inventory=estate.by_sudo())
        assert report["verdict"] == "passed", report["stderr"]
        assert "takes no byte any more" in str(report["stderr"])
        assert estate.on("zone-a-1", "ls -A /srv/spare") == ""
    finally:
        estate.on("zone-a-1", "umount /srv/spare; rmdir /srv/spare")


def test_a_disk_that_the_host_needs_is_not_filled(estate: Estate) -> None:
    report = drill(estate, str(book(estate, "fault: disk-full, path: /etc")), inventory=estate.by_sudo())
    assert (report["code"], report["verdict"]) == (4, "not-started")
    assert "root file system" in str(report["reason"])


def test_a_gpu_that_is_not_there_cannot_be_lost(estate: Estate) -> None:
    report = drill(estate, str(book(estate, "fault: gpu-lost")))
    assert (report["code"], report["verdict"]) == (4, "not-started")
    assert "no GPU to lose" in str(report["reason"])


def test_a_fault_whose_programs_are_not_installed_is_refused_before_any_host_is_asked(estate: Estate) -> None:
    done = estate.run("run", str(book(estate, FAULTS["command"])), "--inventory", str(estate.inventory), "--yes")
    assert (done.code, done.out) == (2, "")
    assert "its programs are not installed" in done.err


SABOTAGE = {
    "a hang that stops nothing": (
        "fault: hang",
        "while sleep 0.02; do systemctl kill --signal=CONT inference; done",
    ),
    "a command that does nothing": (
        "fault: command, inject: ['true'], prove: ['false'], undo: ['true']",
        "sleep 1000",
    ),
}


@pytest.mark.parametrize(("fault", "sabotage"), SABOTAGE.values(), ids=SABOTAGE.keys())
def test_a_fault_that_does_not_take_effect_is_inconclusive(estate: Estate, fault: str, sabotage: str) -> None:
    pid = estate.on("zone-a-1", f"setsid sh -c '{sabotage}' </dev/null >/dev/null 2>&1 & echo $!")
    try:
        report = drill(estate, str(book(estate, fault)), inventory=estate.by_sudo() if "command" in fault else None)
    finally:
        estate.on("zone-a-1", f"kill -- -{pid} 2>/dev/null || kill {pid}", check=False)
        estate.on("zone-a-1", "systemctl kill --signal=CONT inference", check=False)
    assert (report["code"], report["verdict"]) == (3, "inconclusive"), report["stderr"]


def test_steps_of_the_users_own(estate: Estate) -> None:
    extra = (
        "  - {step: probe, name: own page, http: {path: /info, status: 503}}\n"
        "  - {step: probe, command: {host: zone-b-1, run: [hostname], contains: zone-b-1}}\n"
        "  - {step: action, name: mark, command: {host: gateway, run: [touch, /run/marked], privileged: true},"
        " undo: [rm, -f, /run/marked]}\n"
    )
    report = drill(estate, str(book(estate, "fault: kill", extra=extra)), inventory=estate.by_sudo())
    assert report["verdict"] == "passed", report["stderr"]
    steps = [step["name"] for step in report["steps"]]  # type: ignore[attr-defined]
    assert [name for name in steps if name in ("own page", "probe", "mark")] == ["own page", "probe", "mark"]
    assert estate.on("gateway", "ls /run/marked 2>/dev/null || true") == ""


def test_a_probe_that_does_not_hold_ends_the_drill_and_everything_is_put_back(estate: Estate) -> None:
    report = drill(estate, str(book(estate, "fault: kill", extra="  - {step: probe, http: {path: /info}}\n")))
    assert (report["code"], report["verdict"]) == (1, "failed")
    assert "answers 503, not 200" in str(report["reason"])


def test_a_switch_stays_and_leads_back(estate: Estate) -> None:
    where = ("--inventory", str(estate.inventory), "--yes", "--json")
    there = estate.run("switch", "zone-b", *where)
    assert there.code == 0, there.err
    assert there.report["restore"]["verdict"] == "kept"
    assert there.report["meaning"] == "every objective was met; the gateway stays on zone-b"
    assert there.report["traffic"]["failed"] == 0
    assert estate.serving_zone() == "zone-b"
    again = estate.run("switch", "zone-b", *where)
    assert again.code == 4
    assert "already" in again.report["reason"]
    back = estate.run("switch", "primary", *where)
    assert back.code == 0, back.err
    assert estate.serving_zone() == "zone-a"


def test_a_switch_away_from_a_dead_zone_asks_nothing_of_it(estate: Estate) -> None:
    estate.on("zone-a-1", "systemctl stop inference ssh")
    try:
        where = ("--inventory", str(estate.inventory), "--yes", "--json")
        refused = estate.run("switch", "zone-b", *where)
        assert refused.code == 4, refused.err
        done = estate.run("switch", "zone-b", "--force", *where)
        assert done.code == 0, done.err
        assert estate.serving_zone() == "zone-b"
        assert any("out of reach" in what for what in done.report["not_proven"])
    finally:
        estate.on("zone-a-1", "systemctl start ssh inference")
    estate.start_servers()
    assert estate.run("switch", "zone-a", *where).code == 0


def test_a_model_is_put_back_by_the_guard_when_drillctl_dies(estate: Estate) -> None:
    process = estate.start("run", str(book(estate, "fault: model")), "--inventory", str(estate.inventory), "--yes")
    pinned = estate.on("zone-a-1", f"sha256sum < {MODEL}")
    estate.wait_for_step("fault")
    process.kill()
    process.communicate(timeout=10)
    assert estate.on("zone-a-1", f"sha256sum < {MODEL}") != pinned
    estate.wait_for(lambda: estate.on("zone-a-1", f"sha256sum < {MODEL}") == pinned, 40)
    estate.wait_for(lambda: estate.serving_zone() == "zone-a", 60)
    estate.wait_for(lambda: estate.on("gateway", "ls -A /var/lib/drillctl/gateway") == "epoch", 60)
    assert estate.run("recover").code == 0
