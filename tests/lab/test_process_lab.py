"""The lab of processes: who gets it, and what is left of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from ledger import alive, runs

if TYPE_CHECKING:
    from conftest import Sandbox

pytestmark = pytest.mark.lab


def test_an_ordinary_user_gets_a_lab_and_is_rid_of_it(ordinary: Sandbox) -> None:
    before = ordinary.traces()
    made = ordinary.run(ordinary.drillctl("lab", "up", "--json"))
    assert made.returncode == 0, made.stderr
    document = json.loads(made.stdout)
    assert document["driver"] == "process"
    assert document["cannot_prove"] == ["isolation", "partition", "reboot"]
    assert "it needs root" in made.stderr
    who = ordinary.run(ordinary.drillctl("lab", "ssh", "zone-a-1", "--", "id", "-u"))
    assert who.stdout == "61234\n", who.stderr
    ledger = ordinary.ledger
    assert len(alive(ledger)) == 4
    left_behind = ordinary.run(
        ordinary.drillctl("lab", "ssh", "zone-b-1", "--", "setsid sleep 300 >/dev/null 2>&1 </dev/null & echo $!")
    )
    pid = int(left_behind.stdout)
    assert runs(pid)

    removed = ordinary.run(ordinary.drillctl("lab", "down"))
    assert removed.returncode == 0, removed.stderr
    assert alive(ledger) == []
    assert not runs(pid)
    assert ordinary.traces() == before


def test_an_ordinary_user_is_told_that_machines_need_root(ordinary: Sandbox) -> None:
    refused = ordinary.run(ordinary.drillctl("lab", "up", "--driver", "systemd"))
    assert refused.returncode == 4
    assert "it needs root" in refused.stderr
    assert ordinary.ledger == []


def test_a_folder_that_somebody_else_made_is_refused(ordinary: Sandbox) -> None:
    place = ordinary.path("/tmp/drillctl-lab-61234")
    place.mkdir(mode=0o777)
    try:
        refused = ordinary.run(ordinary.drillctl("lab", "up"))
        assert refused.returncode == 4
        assert "not this user's alone" in refused.stderr
    finally:
        place.rmdir()


def test_root_gets_one_too_and_what_it_started_ends_with_it(sandbox: Sandbox) -> None:
    before = sandbox.traces()
    made = sandbox.run(sandbox.drillctl("lab", "up", "--driver", "process", "--json"))
    assert made.returncode == 0, made.stderr
    ledger = sandbox.ledger
    left_behind = sandbox.run(
        sandbox.drillctl("lab", "ssh", "zone-b-1", "--", "setsid sleep 300 >/dev/null 2>&1 </dev/null & echo $!")
    )
    assert sandbox.run(sandbox.drillctl("lab", "down")).returncode == 0
    assert not runs(int(left_behind.stdout))
    assert alive(ledger) == []
    assert sandbox.traces() == before
