"""The ledger of a lab survives being cut off in the middle of a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.lab.ledger import Ledger, Thing

if TYPE_CHECKING:
    from pathlib import Path


def test_things_come_back_in_the_order_they_were_written(tmp_path: Path) -> None:
    things = [Thing("cgroup", "/sys/fs/cgroup/lab"), Thing("process", "gateway", 12, 3456), Thing("link", "drillctl0")]
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for thing in things:
        ledger.write(thing)
    assert Ledger(tmp_path / "ledger.jsonl").things() == things


def test_a_line_that_was_cut_off_is_ignored_because_it_was_not_acted_on(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.write(Thing("folder", "/run/sshd"))
    with ledger.path.open("ab") as file:
        file.write(b'{"kind": "link", "na')
    assert ledger.things() == [Thing("folder", "/run/sshd")]


def test_there_is_nothing_without_a_file(tmp_path: Path) -> None:
    assert Ledger(tmp_path / "absent").things() == []


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.write(Thing("token", "DRILLCTL_LAB=secret"))
    assert ledger.path.stat().st_mode & 0o777 == 0o600
