"""The matrix's most telling points, in the time that `make test` has; `make crash-matrix` carries out all of them."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from estate import CONFIG, ON_MACHINES

from tests.crash import disturbances
from tests.crash.matrix import Bench, carry_out
from tests.crash.points import Point, matrix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.crash.machine import Machine

pytestmark = ON_MACHINES

TELLING = (
    r"kill during connect/gateway/GuardClient\.acquire",
    r"kill during fault/zone-a-1/\w+\.kill",
    r"kill during switch/gateway/\w+\.activate",
    r"kill before heal/zone-a-1/\w+\.revive",
    r"kill during failback/gateway/\w+\.restore#2",
    r"drillctl killed and gateway rebooted after `switch`",
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("crash"))
    try:
        made.scene()
        yield made
    finally:
        made.close()


def only(points: list[Point], pattern: str) -> Point:
    """Return the one point of a pattern: a step that got another name must not drop out of here unseen."""
    found = [point for point in points if re.fullmatch(pattern, point.name)]
    assert len(found) == 1, f"{pattern} is the name of {len(found)} points"
    return found[0]


def test_a_drill_has_at_least_forty_points_and_no_effect_is_anonymous(bench: Bench) -> None:
    points = [point for point in matrix(bench.record, disturbances.ALL) if point.moment]
    assert len(points) >= 40
    assert len({point.name for point in points}) == len(points)
    assert not [point.name for point in points if point.effect.endswith("/")]


@pytest.mark.parametrize("pattern", TELLING)
def test_service_comes_back_and_nothing_is_left(bench: Bench, pattern: str) -> None:
    row = carry_out(bench.scene(), only(matrix(bench.record, disturbances.ALL), pattern))
    if row.wrong:
        bench.close()  # the next point gets hosts of its own
    assert row.wrong == []
    assert row.in_time, row


STRAYS = {
    "a file": ("touch /etc/nginx/.drillctl-left", "rm /etc/nginx/.drillctl-left"),
    "a mode": (f"chmod 600 {CONFIG}", f"chmod 644 {CONFIG}"),
    "a byte": (f"echo >> {CONFIG}", f"sed -i '$ d' {CONFIG}"),
    "a drop-in": (
        "mkdir /run/systemd/system/x.service.d; touch /run/systemd/system/x.service.d/90-drillctl-hold.conf",
        "rm -r /run/systemd/system/x.service.d",
    ),
    "a timer": ("systemd-run -q --unit=left --on-active=600 true", "systemctl stop left.timer"),
    "a filter": ("nft add table inet left", "nft delete table inet left"),
    "a unit that does not run": ("systemctl stop ssh", "systemctl start ssh"),
    "a mount": ("mount -t tmpfs left /mnt", "umount /mnt"),
}


@pytest.mark.parametrize("stray", STRAYS)
def test_what_is_left_behind_is_seen(bench: Bench, stray: str) -> None:
    scene = bench.scene()
    gateway: Machine = scene.machines["gateway"]
    make, remove = STRAYS[stray]
    gateway.shell(make)
    try:
        assert scene.differences(within=0.0) != []
    finally:
        gateway.shell(remove)
    assert scene.differences() == []


def test_a_process_that_is_left_behind_is_seen(bench: Bench) -> None:
    scene = bench.scene()
    # By its own systemd: what is started from below is in no control group of the machine.
    scene.machines["gateway"].shell("systemd-run --quiet --collect sleep 77")
    scene.wait(lambda: bool(scene.machines["gateway"].find("sleep 77")), 5, "the process is there")
    found = scene.differences(within=0.0)
    for pid in scene.machines["gateway"].find("sleep 77"):
        os.kill(pid, 9)
    assert any("sleep 77" in line for line in found)
    assert scene.differences() == []
