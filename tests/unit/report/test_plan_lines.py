"""The plan as lines: everything that the table says, each action on a line of its own, whatever its length."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from drillctl.plan import make_plan
from drillctl.report.plan_lines import plan_document, plan_lines

if TYPE_CHECKING:
    from drillctl.inventory import Inventory
    from drillctl.playbook import Playbook


def test_every_action_and_every_undo_is_a_line(estate: Inventory, playbook: Playbook) -> None:
    plan = make_plan(estate, playbook)
    lines = plan_lines(plan, estate, playbook)
    actions = [action for step in plan.steps for action in step.actions]
    assert len(lines) == 2 + len(actions) + sum(action.undo is not None for action in actions)
    assert lines[0] == "Plan: loss-of-zone on shop (staging)"
    assert any(line.startswith("  fault, a-1: ") for line in lines)
    assert any(line.startswith("    undone by: ") for line in lines)
    assert lines[-1] == f"{plan.changes} changes, each with its undo; 3 hosts."
    assert not any("\n" in line or ", :" in line for line in lines)


def test_a_program_gets_the_same_in_a_document(estate: Inventory, playbook: Playbook) -> None:
    plan = make_plan(estate, playbook)
    document = json.loads(json.dumps(plan_document(plan, estate, playbook)))
    assert (document["playbook"], document["inventory"], document["changes"]) == ("loss-of-zone", "shop", plan.changes)
    assert [step["name"] for step in document["steps"]] == [step.name for step in plan.steps]
    assert {"host", "what", "undo"} == set(document["steps"][1]["actions"][0])
