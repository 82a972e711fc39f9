"""A switch for its own sake: for planned work, and for the night on which it is needed (pure).

It is a drill without a fault, whose change is kept: the same steady state, proofs and report. The zone that is
to serve takes the place of the standby; where that is the inventory's primary, the two change places for the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.errors import UsageError
from drillctl.language import FailbackStep, SwitchStep, VerifyStep
from drillctl.playbook import Expects, Objectives, Playbook, TrafficPlan

if TYPE_CHECKING:
    from pathlib import Path

    from drillctl.inventory import Inventory
    from drillctl.playbook import Check

CHECKS: tuple[Check, ...] = ("health", "model", "environment", "isolation", "gateway", "equality")
"""All but the roles: which zone is called primary does not matter to a switch."""

FORCED: tuple[Check, ...] = ("health", "model")
"""What can be asked of the target alone, when the serving zone is dead."""


def towards(inventory: Inventory, zone: str) -> Inventory:
    """Return the inventory in which `zone`, by name or role, is the standby. Raises UsageError for another word."""
    target = next((z for z in inventory.zones if zone in (z.name, z.role)), None)
    if target is None:
        raise UsageError(
            f"there is no zone `{zone}`",
            hint=f"the zones are {', '.join(z.name for z in inventory.zones)}",
            state="nothing was changed",
        )
    if target.role == "standby":
        return inventory
    return inventory.turned()


def check_gateway(inventory: Inventory) -> None:
    """Raise UsageError for a gateway that cannot be switched: it alone decides which zone serves."""
    if inventory.gateway.kind == "nginx-passive":
        raise UsageError(
            f"the gateway of `{inventory.name}` fails over by itself (kind `nginx-passive`): nothing is switched there",
            hint="stop the servers of the zone that is not to serve, and nginx sends clients to the other; "
            "`drillctl run gateway-passive` measures how",
            state="nothing was changed",
        )


def playbook_to(zone: str, images: Path, *, force: bool, rate: float) -> Playbook:
    """Return the playbook of a switch to a zone. `images` are what clients send meanwhile, `rate` a second."""
    return Playbook(
        name="switch",
        description=f"Point the gateway at {zone}, prove that it serves, and leave it so."
        + (" The zone that served is given up." if force else ""),
        objectives=Objectives(
            rto_seconds=None if force else 1.0,
            lost_requests=None if force else 0,
            restore_failed_requests=None,
        ),
        traffic=TrafficPlan(rate=rate, images=images, timeout_seconds=5.0, baseline_seconds=2.0),
        expects=Expects(serving="standby"),
        steady_state=FORCED if force else CHECKS,
        steps=(SwitchStep(step="switch"), VerifyStep(step="verify", zone="standby")),
        restore=(FailbackStep(step="failback"), VerifyStep(step="verify", zone="primary")),
    )
