"""stop: SIGTERM, as in planned work; what the server still answers while it drains is counted by the clients."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from drillctl.errors import Inconclusive
from drillctl.faults.fault import Fault, Place, revive_undo
from drillctl.faults.kill import still_gone
from drillctl.hosts.service import commands_of

if TYPE_CHECKING:
    from drillctl.inventory import Host, Inventory
    from drillctl.undo import Undo


class Stop(Fault):
    """Stop the service in good order: SIGTERM, wait for it to drain, and see it gone."""

    fault: Literal["stop"]

    def does(self, inventory: Inventory, host: Host) -> tuple[str, str]:
        return "; ".join(commands_of(inventory, host, "stop")), "; ".join(commands_of(inventory, host, "start"))

    def undos(self, place: Place) -> tuple[Undo, ...]:
        return (revive_undo(place),)

    def inject(self, place: Place) -> str:
        before = place.served.state()
        if not before.running:
            raise Inconclusive("there was no server to stop", host=place.host.name)
        begun = time.monotonic()
        place.served.stop()
        return f"SIGTERM to pid {', '.join(map(str, before.pids))}: drained and gone after {_since(begun)}"

    def prove(self, place: Place, said: str) -> str:
        state = place.served.state()
        if state.running:
            raise Inconclusive(f"the fault is not proven: {state.detail} after SIGTERM", host=place.host.name)
        return said

    def still(self, place: Place) -> None:
        still_gone(place)


def _since(begun: float) -> str:
    return f"{time.monotonic() - begun:.2f} s"
