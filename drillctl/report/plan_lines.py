"""The plan where there is no terminal (pure): as lines that are never wrapped, and as a document for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drillctl.gates import Gate
    from drillctl.inventory import Inventory
    from drillctl.plan import Plan
    from drillctl.playbook import Playbook


def plan_lines(plan: Plan, inventory: Inventory, playbook: Playbook, gates: tuple[Gate, ...] = ()) -> list[str]:
    """Return what the drill will do: a line for each action, its undo in the line below, the count, gates as of now."""
    lines = [f"Plan: {playbook.name} on {inventory.name} ({inventory.environment})"]
    for step in plan.steps:
        for action in step.actions:
            place = f"{plan.title(step)}, {action.host}" if action.host else plan.title(step)
            lines.append(f"  {place}: {' '.join(action.what.split())}")
            if action.undo:
                lines.append(f"    undone by: {' '.join(action.undo.split())}")
    lines += plan.closing(inventory)
    for gate in gates:
        word = "OVERRIDDEN" if gate.overridden else "open" if gate.passed else "CLOSED"
        lines.append(f"Gate {gate.name} {word}: {gate.found}{f'; {gate.opens}' if gate.opens else ''}")
    return lines


def plan_document(
    plan: Plan, inventory: Inventory, playbook: Playbook, gates: tuple[Gate, ...] = ()
) -> dict[str, object]:
    """Return the plan for a program: steps with their actions in order, how many of them change something, gates."""
    return {
        "schema_version": 1,
        "playbook": playbook.name,
        "inventory": inventory.name,
        "environment": inventory.environment,
        "steps": [asdict(step) for step in plan.steps],
        "changes": plan.changes,
        "stays_on": plan.stays_on,
        "gates": [asdict(gate) for gate in gates],
    }
