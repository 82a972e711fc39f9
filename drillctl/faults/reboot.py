"""reboot: the host restarts, as after a power cut. Its guard comes back with it and starts the service again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, Literal

from drillctl.errors import Inconclusive
from drillctl.faults.fault import Fault, Place, revive_undo
from drillctl.undo import Undo

if TYPE_CHECKING:
    from drillctl.inventory import Host, Inventory

# Detached, so that the command ends before the connection does.
REBOOT = """
setsid sh -c 'sleep 0.1; systemctl reboot' </dev/null >/dev/null 2>&1 &
cat /proc/sys/kernel/random/boot_id
"""


class Reboot(Fault):
    """Reboot the zone's hosts. `heal` waits for them, and starts the service if nothing else does."""

    fault: Literal["reboot"]
    reboots: ClassVar[bool] = True
    slow_to_prove: ClassVar[bool] = True

    def does(self, inventory: Inventory, host: Host) -> tuple[str, str]:
        unit = getattr(inventory.service.start, "unit", "the service")
        return "systemctl reboot", f"wait for the host; systemctl start {unit}"

    def check(self, place: Place) -> None:
        place.unit  # noqa: B018 - raises where there is none

    def undos(self, place: Place) -> tuple[Undo, ...]:
        return (revive_undo(place),)

    def inject(self, place: Place) -> str:
        return place.transport.script("rebooting the host", REBOOT, privileged=True).text

    def prove(self, place: Place, said: str) -> str:
        # A connection that is gone, or a question that nobody answers.
        deadline = time.monotonic() + 30.0
        while time.monotonic() < deadline:
            if not place.transport.alive(timeout=1.0):
                return f"the host is gone (boot {said[:8]}…)"
            place.pause(0.2)
        raise Inconclusive("the fault is not proven: the host still answers after 30 s", host=place.host.name)
