"""`--plan` of `drillctl run` and `drillctl switch`: the plan is the result, and nothing is touched for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Ended


def test_as_json_it_is_one_document(drillctl: Callable[..., Ended], inventory_file: Path, tmp_path: Path) -> None:
    ended = drillctl("run", "zone-failover", "--plan", "--json")
    document = json.loads(ended.out)
    assert (ended.code, ended.err) == (0, "")
    assert (document["playbook"], document["inventory"], document["stays_on"]) == ("zone-failover", "shop", None)
    assert not (tmp_path / "state").exists()


WITHOUT_LAB = """
import sys
from drillctl import __main__, lab
lab.current = lambda: None
lab.up = lambda *_, **__: sys.exit("a lab was to be brought up")
__main__.main()
"""
"""drillctl where no lab is up, even while one is: that of the tests on real hosts."""


def test_no_lab_is_brought_up_for_a_plan(drillctl: Callable[..., Ended], tmp_path: Path) -> None:
    for words in (("run", "zone-failover"), ("switch", "zone-b")):
        ended = drillctl(*words, "--lab", "--plan", python=("-c", WITHOUT_LAB))
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith("error: there is no lab\n")
    assert not (tmp_path / "state").exists()


def test_a_switch_is_planned_as_one_that_stays(
    drillctl: Callable[..., Ended], inventory_file: Path, tmp_path: Path
) -> None:
    ended = drillctl("switch", "zone-b", "--plan")
    assert (ended.code, ended.err) == (0, "")
    assert "restore: " not in ended.out
    assert "  if cut short: failback, gateway: put the original bytes" in ended.out
    assert "The gateway stays on zone-b; `if cut short` is done only if the switch breaks off.\n" in ended.out
    assert not (tmp_path / "state").exists()


def test_a_forced_switch_plans_nothing_on_the_dead_zone(drillctl: Callable[..., Ended], inventory_file: Path) -> None:
    ended = drillctl("switch", "zone-b", "--force", "--plan")
    dead = [line for line in ended.out.splitlines() if ", a-1: " in line]
    assert dead == ["  connect, a-1: ssh 10.0.1.1, and a guard as elsewhere, if it answers: its zone is given up"]


def test_who_answers_for_a_switch_is_in_its_report(drillctl: Callable[..., Ended], dead_estate: Path) -> None:
    ended = drillctl("switch", "zone-b", "--yes", "--json", "--approver", "A", "--participant", "B")
    assert json.loads(ended.out)["context"]["people"]["approver"] == "A"
    assert json.loads(ended.out)["context"]["people"]["participants"] == ["B"]
