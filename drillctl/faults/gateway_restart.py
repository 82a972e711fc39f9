"""gateway-restart: the gateway's own service is restarted, which cuts every connection that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from drillctl.errors import Inconclusive, NotStarted
from drillctl.faults.fault import Fault, Place
from drillctl.fields import UnitName
from drillctl.undo import Undo

if TYPE_CHECKING:
    from drillctl.inventory import Host, Inventory

# $1 unit: prints the main pid before and after.
RESTART = """
set -eu
before=$(systemctl show --property=MainPID --value -- "$1")
systemctl restart -- "$1"
echo "before=$before after=$(systemctl show --property=MainPID --value -- "$1") state=$(systemctl is-active -- "$1")"
"""


class GatewayRestart(Fault):
    """Restart the gateway's service on each of its hosts; it is over when the service runs again."""

    fault: Literal["gateway-restart"]
    unit: UnitName | None = None
    """By default that of the gateway's kind: nginx.service or haproxy.service."""
    on_gateway: ClassVar[bool] = True
    lasts: ClassVar[bool] = False

    def does(self, inventory: Inventory, host: Host) -> tuple[str, str]:
        unit = self._unit(inventory)
        return f"systemctl restart {unit}", f"systemctl start {unit}"

    def check(self, place: Place) -> None:
        unit = self._unit(place.inventory)
        shown = place.transport.run(["systemctl", "is-active", "--", unit], check=False)
        if shown.text != "active":
            raise NotStarted(
                f"there is no unit {unit} that runs ({shown.complaint})",
                host=place.host.name,
                hint="say in the playbook which `unit` the gateway is",
                state="nothing was changed",
            )

    def undos(self, place: Place) -> tuple[Undo, ...]:
        unit = self._unit(place.inventory)
        return (Undo("service.revive", place.host.name, f"start {unit}", {"unit": unit}),)

    def inject(self, place: Place) -> str:
        unit = self._unit(place.inventory)
        return place.transport.script(f"restarting {unit}", RESTART, unit, timeout=60, privileged=True).text

    def prove(self, place: Place, said: str) -> str:
        shown = dict(word.split("=", 1) for word in said.split() if "=" in word)
        before, after = shown.get("before", "0"), shown.get("after", "0")
        if "0" in (before, after) or before == after or shown.get("state") != "active":
            raise Inconclusive(f"the fault is not proven: {said}", host=place.host.name)
        return f"{self._unit(place.inventory)} restarted: pid {before} is now {after}"

    def _unit(self, inventory: Inventory) -> str:
        return self.unit or unit_of(inventory)


def unit_of(inventory: Inventory) -> str:
    """Return the unit that is restarted when the playbook names none."""
    return "haproxy.service" if inventory.gateway.kind == "haproxy" else "nginx.service"
