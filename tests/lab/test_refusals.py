"""What must refuse a drill on real hosts: one clear message, exit code 4, and nothing was changed."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from estate import CONFIG, ON_MACHINES, Estate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drillctl.lab import Lab

pytestmark = ON_MACHINES


@pytest.fixture
def estate(lab: Lab, tmp_path: Path) -> Iterator[Estate]:
    """An estate in its steady state, which a refused drill leaves as it was."""
    made = Estate(lab, tmp_path)
    made.start_servers()
    before = made.state()
    pids = [made.pid(host) for host in ("zone-a-1", "zone-b-1")]
    yield made
    assert made.state() == before
    assert made.serving_zone() == "zone-a"
    assert [made.pid(host) for host in ("zone-a-1", "zone-b-1")] == pids


def refused(estate: Estate, inventory: Path | None = None) -> str:
    """Drill, and return why it was refused."""
    done = estate.drill(inventory)
    assert done.code == 4, done.err
    report = done.report
    assert report["verdict"] == "not-started"
    assert report["traffic"]["failed"] == 0
    assert not any(s["name"] in {"fault", "switch"} for s in report["steps"])
    return str(report["reason"])


def test_an_unreachable_host(estate: Estate) -> None:
    def move(document: dict[str, Any]) -> None:
        document["zones"][1]["hosts"][0]["address"] = "198.18.77.99"
        document["ssh"]["connect_timeout_seconds"] = 1

    reason = refused(estate, estate.changed_inventory(move))
    assert reason.startswith("zone-b-1: 198.18.77.99:22 cannot be reached by SSH")


def test_an_unknown_host_key(estate: Estate) -> None:
    known = estate.folder / "known_hosts"
    all_known = (estate.lab.inventory.parent / "known_hosts").read_text().splitlines(keepends=True)
    known.write_text("".join(line for line in all_known if "198.18.77.12" not in line))

    def forget(document: dict[str, Any]) -> None:
        document["ssh"]["known_hosts"] = str(known)

    reason = refused(estate, estate.changed_inventory(forget))
    assert reason.startswith("zone-b-1: the host key of 198.18.77.12 is unknown: it shows ssh-")
    assert "SHA256:" in reason


def test_a_refused_key(estate: Estate) -> None:
    key = estate.folder / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)

    def use(document: dict[str, Any]) -> None:
        document["ssh"]["key"] = str(key)

    reason = refused(estate, estate.changed_inventory(use))
    assert "refused the login with the key" in reason
    assert all(host in reason for host in ("gateway", "zone-a-1", "zone-b-1"))


def test_an_upstream_that_is_not_in_the_config(estate: Estate) -> None:
    def rename(document: dict[str, Any]) -> None:
        document["gateway"]["upstream"] = "recogniton"

    reason = refused(estate, estate.changed_inventory(rename))
    assert "recogniton" in reason
    assert "recognition" in reason.replace("recogniton", "")


def test_a_gateway_that_serves_neither_zone(estate: Estate) -> None:
    def move(document: dict[str, Any]) -> None:
        for zone in document["zones"]:
            zone["hosts"][0]["upstream"] = f"{zone['hosts'][0]['address']}:9999"

    reason = refused(estate, estate.changed_inventory(move))
    assert reason


def test_a_gateway_that_points_at_the_standby(estate: Estate) -> None:
    def swap(document: dict[str, Any]) -> None:
        for zone in document["zones"]:
            zone["role"] = "standby" if zone["role"] == "primary" else "primary"

    reason = refused(estate, estate.changed_inventory(swap))
    assert "SERVICE_NAME" in reason or "configured for zone-a, not for the primary zone-b" in reason


def test_a_pinned_hash_that_nobody_has(estate: Estate) -> None:
    def pin(document: dict[str, Any]) -> None:
        document["service"]["model"]["sha256"] = "0" * 64

    reason = refused(estate, estate.changed_inventory(pin))
    assert "0" * 64 in reason
    assert estate.lab.model_sha256 in reason


def test_a_config_that_nginx_does_not_accept(estate: Estate) -> None:
    estate.on("gateway", f"cp -p {CONFIG} /root/kept; echo 'server {{ listen 80 nonsense; }}' >> {CONFIG}")
    try:
        done = estate.drill()
    finally:
        estate.on("gateway", f"mv /root/kept {CONFIG}")
    assert done.code == 4, done.err
    assert "nonsense" in done.report["reason"]


@pytest.fixture
def other_answers(lab: Lab, tmp_path: Path) -> Iterator[Estate]:
    """An estate whose standby gives one label more than the primary, as a forgotten setting would."""
    made = Estate(lab, tmp_path)
    folder = "/run/systemd/system/inference.service.d"
    made.on("zone-b-1", f"mkdir -p {folder} && printf '[Service]\\nEnvironment=TOP_K=6\\n' > {folder}/top-k.conf")
    made.on("zone-b-1", "systemctl daemon-reload; systemctl restart inference")
    made.start_servers()
    yield made
    made.on("zone-b-1", f"rm -r {folder}; systemctl daemon-reload; systemctl restart inference")
    made.start_servers()


def test_a_standby_that_answers_differently(other_answers: Estate) -> None:
    before = other_answers.state()
    reason = refused(other_answers)
    assert "zone-b-1 does not answer as the primary does" in reason
    assert "5 predictions became 6" in reason
    assert other_answers.state() == before
