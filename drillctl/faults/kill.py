"""kill: SIGKILL to every process of the service, as in a power cut; no supervisor may bring it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from drillctl.errors import Inconclusive
from drillctl.faults.fault import Fault, Place, revive_undo
from drillctl.hosts.service import Killed, commands_of

if TYPE_CHECKING:
    from drillctl.inventory import Host, Inventory
    from drillctl.undo import Undo


class Kill(Fault):
    """SIGKILL every process of the service, and keep supervisors from restarting it."""

    fault: Literal["kill"] = "kill"

    def does(self, inventory: Inventory, host: Host) -> tuple[str, str]:
        return "; ".join(commands_of(inventory, host, "kill")), "; ".join(commands_of(inventory, host, "revive"))

    def undos(self, place: Place) -> tuple[Undo, ...]:
        return (revive_undo(place),)

    def inject(self, place: Place) -> str:
        return judged(place.served.kill(), place, "SIGKILL")

    def prove(self, place: Place, said: str) -> str:
        return said

    def still(self, place: Place) -> None:
        still_gone(place)


def judged(killed: Killed, place: Place, how: str) -> str:
    """Return the evidence that the service is gone. Raises Inconclusive when it is not, or was not there."""
    if not killed.pids:
        raise Inconclusive("the kill hit nothing: there was no process of the service", host=place.host.name)
    if not killed.proven:
        still = f"pids {', '.join(map(str, killed.remaining))} live" if killed.remaining else "its port is open"
        raise Inconclusive(f"the fault is not proven: {still} after {how}", host=place.host.name)
    pids = ", ".join(map(str, killed.pids))
    return f"{how} to pid {pids}: gone, port {place.port} closed"


def still_gone(place: Place) -> None:
    """Prove that no supervisor brought the server back. Raises Inconclusive when one did."""
    state = place.served.state()
    if state.running:
        raise Inconclusive(f"the killed server is back ({state.detail}): the fault did not last", host=place.host.name)
