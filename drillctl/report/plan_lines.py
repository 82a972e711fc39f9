"""The plan as lines for a pipe or the log of a CI: nothing is wrapped, and no table depends on a width (pure)."""

from __future__ import annotations

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
        name = f"{'restore: ' if step.section == 'restore' else ''}{step.name}"
        for action in step.actions:
            place = f"{name}, {action.host}" if action.host else name
            lines.append(f"  {place}: {' '.join(action.what.split())}")
            if action.undo:
                lines.append(f"    undone by: {' '.join(action.undo.split())}")
    lines.append(f"{plan.changes} changes, each with its undo; {len(inventory.hosts)} hosts.")
    for gate in gates:
        word = "OVERRIDDEN" if gate.overridden else "open" if gate.passed else "CLOSED"
        lines.append(f"Gate {gate.name} {word}: {gate.found}{f'; {gate.opens}' if gate.opens else ''}")
    return lines
