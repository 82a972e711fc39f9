"""The plan: made from files alone, and every change in it with its undo."""

from __future__ import annotations

import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from drillctl import inventory as inventories
from drillctl import playbook as playbooks
from drillctl import switchover
from drillctl.faults import Fault
from drillctl.hosts.service import commands_of
from drillctl.language import StartStep
from drillctl.plan import make_plan

if TYPE_CHECKING:
    from pathlib import Path

    from drillctl.inventory import Inventory
    from drillctl.plan import Action, Plan
    from drillctl.playbook import Playbook

CHANGING = {"guard", "start", "arm", "fault", "switch"}


def actions(plan: Plan, *names: str) -> list[Action]:
    return [action for step in plan.steps for action in step.actions if step.name in names]


@pytest.fixture
def process_estate(tmp_path: Path, process_text: str) -> Inventory:
    file = tmp_path / "process.yaml"
    file.write_text(process_text)
    return inventories.load(file)


@pytest.mark.parametrize("name", list(playbooks.builtin()))
def test_every_action_that_changes_something_has_its_undo(estate: Inventory, name: str) -> None:
    book = playbooks.load(playbooks.find(name))
    plan = make_plan(estate, book)
    faults = {step.name or step.step for step in book.steps if isinstance(step, Fault)}
    assert {step.name for step in plan.steps if step.changes} <= CHANGING | faults
    # A `start` among the steps undoes what a fault before it did.
    starts = {step.name or step.step for step in book.steps if isinstance(step, StartStep)}
    changing = [
        s for s in plan.steps if s.name in CHANGING | faults and not (s.section == "steps" and s.name in starts)
    ]
    for action in (action for step in changing for action in step.actions):
        assert action.undo, action
        assert action.host, action
    assert plan.changes == sum(len(step.actions) for step in changing)


def test_the_plan_of_the_documented_drill(estate: Inventory, playbook: Playbook) -> None:
    plan = make_plan(estate, playbook)
    assert [(step.section, step.name) for step in plan.steps] == [
        ("before", "agreement"),
        ("before", "connect"),
        ("before", "guard"),
        ("before", "config"),
        ("before", "start"),
        ("before", "steady state"),
        ("before", "arm"),
        ("before", "traffic"),
        ("steps", "stop if"),
        ("steps", "fault"),
        ("steps", "detect"),
        ("steps", "switch"),
        ("steps", "verify"),
        ("restore", "heal"),
        ("restore", "failback"),
        ("restore", "verify"),
    ]
    (fault,) = actions(plan, "fault")
    assert fault.host == "a-1"
    assert fault.what.endswith("kill -9 every process of inference.service")
    assert fault.undo is not None
    assert "systemctl start inference.service" in fault.undo
    (switch,) = actions(plan, "switch")
    assert switch.host == "gateway"
    assert "(upstream recognition → zone-b); nginx -s reload" in switch.what
    assert [action.what for action in actions(plan, "connect")] == ["ssh 10.0.0.1", "ssh 10.0.1.1", "ssh 10.0.2.1"]


def test_the_fault_touches_the_primary_alone(estate: Inventory, playbook: Playbook) -> None:
    own = {host.name for host in estate.zone("primary").hosts}
    assert {action.host for action in actions(make_plan(estate, playbook), "fault", "heal")} == own


def test_the_undo_of_a_fault_is_what_heal_does(estate: Inventory, playbook: Playbook) -> None:
    plan = make_plan(estate, playbook)
    assert [action.undo for action in actions(plan, "fault")] == [action.what for action in actions(plan, "heal")]


def test_a_process_is_planned_by_its_command_without_the_values_of_its_environment(
    process_estate: Inventory, playbook: Playbook
) -> None:
    plan = make_plan(process_estate, playbook)
    assert actions(plan, "start")[0].what == (
        "if it is not running: cd /srv/app && setsid /opt/conda/bin/python -m inference serve"
    )
    assert "s3cret" not in repr(plan)
    assert all(action.undo for action in actions(plan, *CHANGING))


def test_the_plan_needs_no_host_and_no_program(
    estate: Inventory, playbook: Playbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("the plan reached out")

    monkeypatch.setattr(socket, "socket", forbidden)
    monkeypatch.setattr(subprocess, "Popen", forbidden)
    assert make_plan(estate, playbook).changes == 8


def test_the_same_files_give_the_same_plan(estate: Inventory, playbook: Playbook) -> None:
    assert make_plan(estate, playbook) == make_plan(estate, playbook)


def test_words_of_a_command_are_quoted_as_a_shell_needs_them(process_estate: Inventory, playbook: Playbook) -> None:
    start = process_estate.service.start
    odd = start.model_copy(update={"command": ("-c", "print('a b'); $(id)"), "working_folder": "/srv/my app"})
    service = process_estate.service.model_copy(update={"start": odd})
    estate = process_estate.model_copy(update={"service": service})
    (shown,) = commands_of(estate, estate.zone("primary").hosts[0], "start")
    assert shown == """cd '/srv/my app' && setsid /opt/conda/bin/python -c 'print('"'"'a b'"'"'); $(id)'"""


@pytest.mark.parametrize(
    ("lines", "switch", "undo"),
    [
        ("  upstream: u\n", "rename the staged config over", "put the original bytes back; nginx -s reload"),
        (
            "  upstream: u\n  kind: nginx-flag\n",
            "set /var/lib/drillctl-flags/u.standby",
            "/var/lib/drillctl-flags/u.standby as before",
        ),
        ("  upstream: u\n  kind: nginx-passive\n", "nothing: nginx goes over", None),
        (
            "  backend: u\n  kind: haproxy\n",
            "the servers of zone-b ready, the others maint",
            "the servers' states as before",
        ),
    ],
)
def test_the_switch_is_told_as_the_kind_of_gateway_does_it(
    tmp_path: Path, inventory_text: str, lines: str, switch: str, undo: str | None
) -> None:
    file = tmp_path / "kind.yaml"
    file.write_text(inventory_text.replace("  upstream: recognition\n", lines))
    plan = make_plan(inventories.load(file), playbooks.load(playbooks.find("zone-failover")))
    (action,) = actions(plan, "switch")
    assert switch in action.what
    assert (action.undo is None) == (undo is None)
    assert undo is None or undo in (action.undo or "")
    assert actions(plan, "failback")


def test_the_guard_is_a_change_on_every_host(estate: Inventory, playbook: Playbook) -> None:
    guards = actions(make_plan(estate, playbook), "guard")
    assert [action.host for action in guards] == ["gateway", "a-1", "b-1"]
    assert all("lease of 20 s" in action.what and action.undo for action in guards)


def switched(inventory: Inventory, *, force: bool) -> Plan:
    book = switchover.playbook_to("zone-b", playbooks.find("planned-switchover").parent / "images", force=force, rate=5)
    return make_plan(inventory, book, keep=True, force=force)


def test_the_way_back_of_a_switch_that_stays_is_for_when_it_is_cut_short(estate: Inventory) -> None:
    plan = switched(estate, force=False)
    back = [plan.title(step) for step in plan.steps if step.section == "restore"]
    assert back == ["if cut short: failback", "if cut short: verify"]
    assert plan.closing(estate)[-1].startswith("The gateway stays on zone-b; ")


def test_of_a_zone_that_is_given_up_nothing_is_asked(estate: Inventory) -> None:
    plan = switched(estate, force=True)
    assert [action.what for action in actions(plan, "connect") if action.host == "a-1"] == [
        "ssh 10.0.1.1, and a guard as elsewhere, if it answers: its zone is given up"
    ]
    assert {action.host for action in actions(plan, "start", "guard")} == {"gateway", "b-1"}
    back = [action.what for step in plan.steps if step.section == "restore" for action in step.actions]
    assert all(what.startswith("if zone-a answers: ") for what in back)
