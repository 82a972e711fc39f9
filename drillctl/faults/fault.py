"""What every fault is: a step with parameters that can be checked, injected, proven and undone.

A fault is injected only when its effect was observed: what cannot be proven makes the run inconclusive. Its undos are
data (undo.py), registered with the guard of the host before the injection, and carried out by that guard: by `heal`,
by `recover`, or by itself when drillctl vanishes. So a fault says how it is undone but has no code for it.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, ClassVar, Literal

from drillctl.errors import Inconclusive, NotStarted
from drillctl.inventory import SystemdStart
from drillctl.language import StepModel, Target
from drillctl.undo import Undo

if TYPE_CHECKING:
    from drillctl.hosts.fleet import Fleet
    from drillctl.hosts.service import ServiceManager
    from drillctl.hosts.transport import Transport
    from drillctl.inventory import Host, Inventory


@dataclass(frozen=True)
class Place:
    """One host on which a fault strikes, and what is known of it."""

    run_id: str
    inventory: Inventory
    host: Host
    fleet: Fleet
    service: ServiceManager | None
    """The inference service of a zone host; None for a gateway host."""
    given_up: Event = field(default_factory=Event, compare=False, repr=False)
    """Set when things are put back: nobody waits for a proof any more."""

    def pause(self, seconds: float) -> None:
        """Wait between two looks of a proof. Raises Inconclusive at once when the proof is given up."""
        if self.given_up.wait(seconds):
            raise Inconclusive("the proof was given up: everything is put back", host=self.host.name)

    @property
    def transport(self) -> Transport:
        """The way to the host."""
        return self.fleet[self.host]

    @property
    def served(self) -> ServiceManager:
        """The service of a zone host. Raises NotStarted for a gateway host."""
        if self.service is None:
            raise NotStarted("the fault is for a zone's service, and this is a gateway", host=self.host.name)
        return self.service

    @property
    def port(self) -> int:
        """The port on which the host serves."""
        return self.inventory.port(self.host)

    @property
    def unit(self) -> str:
        """The systemd unit of the service. Raises NotStarted when it is a process that drillctl starts."""
        start = self.inventory.service.start
        if not isinstance(start, SystemdStart):
            raise NotStarted(
                "this fault needs a service that systemd supervises",
                host=self.host.name,
                hint="describe the service as a systemd unit in the inventory, or use another fault",
                state="nothing was changed",
            )
        return start.unit


class Fault(StepModel):
    """A step that breaks something. `zone` says whose hosts it strikes; the serving zone is the primary.

    A fault that strikes anything but the primary alone must be meant: the playbook says so in its `expects`.
    """

    step: Literal["fault"]
    zone: Target = "primary"

    slow_to_prove: ClassVar[bool] = False
    """Whether the proof takes seconds; clients then notice, and the gateway is switched, while it is awaited."""

    reboots: ClassVar[bool] = False
    """Whether the host goes away, so that its guard's silence is no reason to stop."""

    on_gateway: ClassVar[bool] = False
    """Whether it strikes the gateway's hosts instead of a zone's."""

    lasts: ClassVar[bool] = True
    """Whether it stays until it is undone; a restart is over by itself."""

    @abstractmethod
    def does(self, inventory: Inventory, host: Host) -> tuple[str, str]:
        """Return what it does on a host and how that is undone, in commands or words, for the plan (pure)."""

    @abstractmethod
    def undos(self, place: Place) -> tuple[Undo, ...]:
        """Return the undos to register before the injection, in the order in which they are registered.

        They are carried out last first.
        """

    @abstractmethod
    def inject(self, place: Place) -> str:
        """Do it; return what the host said, which `prove` is given. Raises HostError or Inconclusive."""

    @abstractmethod
    def prove(self, place: Place, said: str) -> str:
        """Return the evidence that it took effect, in words. Raises Inconclusive without any.

        One that is slow looks for at most a few seconds at a time, and pauses by `place.pause`.
        """

    def check(self, place: Place) -> None:
        """See, before anything is changed, whether it can be injected here. Raises NotStarted."""

    def still(self, place: Place) -> None:
        """See that it has lasted until now. Raises Inconclusive when something has undone it."""


def revive_undo(place: Place, *, restart: bool = False) -> Undo:
    """Return the undo that lets the service run again as it should.

    `restart` is for faults that leave a process running that must not stay: unless its health is 200 by then.
    """
    if restart:
        return Undo(
            "service.revive", place.host.name, "start the server anew, as it was before", {"restart": "unless-healthy"}
        )
    return Undo("service.revive", place.host.name, "let the supervisor work again and start the server")
