"""Putting back what vanished drills left, from what the guards hold alone: no journal, from any machine.

The zone hosts first, because the gateway only goes back to a zone that answers; then the gateways; then it is verified
as at the end of a drill. Every part goes on when another one fails, and all of it is safe to repeat.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drillctl import survey
from drillctl.errors import DrillctlError, GatewayError, HostError
from drillctl.gateway.kinds import gateway_of
from drillctl.guard import gateway_orders, orders
from drillctl.guard.client import GuardClient
from drillctl.guard.guards import owner
from drillctl.guard.lease import MEANING, Held, Holding
from drillctl.hosts import fleet as fleets
from drillctl.hosts.service import manager_of
from drillctl.overview import serving_zone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from drillctl.gateway.gateway import GatewayConfig
    from drillctl.hosts.fleet import Fleet
    from drillctl.interrupt import Interrupt
    from drillctl.inventory import Host, Inventory

TTL = 20
"""Seconds after which a guard goes on by itself, should this recovery be killed as well."""

RENEW = 5.0
"""Seconds after which a lease is renewed while a server loads."""

READY = 120.0
"""Seconds within which a revived server must be ready."""

SWITCH = 30.0
"""Seconds within which the gateway must serve by its original config."""


@dataclass
class Recovered:
    """What the guards held, by host; what was done, and what could not be put back, in words."""

    holdings: dict[str, Holding] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def found(self) -> bool:
        """Tell whether any guard held anything."""
        return any(holding.state != "free" for holding in self.holdings.values())


def look(inventory: Inventory) -> dict[str, Holding | DrillctlError]:
    """Return what each host's guard holds, or why it could not be asked. Changes nothing."""
    fleet, errors = fleets.connect_all(inventory)
    with fleet:
        return {**errors, **ask(inventory, fleet)}


def in_words(holding: Holding) -> list[str]:
    """Say what a guard holds, in lines for a person."""
    lines = [f"{holding.host}: {holding.state}, {MEANING[holding.state]}"]
    if holding.state == "free":
        return lines
    lines[0] += f": {holding.run}, by {holding.owner}, since {holding.since}"
    if holding.state == "held":
        lines[0] += f", until {holding.until} unless it is renewed"
    lines += [f"  to undo: {order.kind} {' '.join(order.arguments[:2])}".rstrip() for order in holding.orders]
    lines += [f"  its log: {line}" for line in holding.log]
    return lines


def carry_out(inventory: Inventory, interrupt: Interrupt, say: Callable[[str], None]) -> Recovered:
    """Put back what the guards hold. What is on a host that cannot be asked is left, once any guard holds something.

    Raises Held, with nothing changed, when a lease is renewed, for that drill still runs; and HostError when no guard
    holds anything and some cannot be asked, for then nobody knows whether there is anything to put back.
    """
    recovered = Recovered()
    fleet, errors = fleets.connect_all(inventory)
    with fleet:
        clients = {name: GuardClient(transport) for name, transport in fleet.transports.items()}
        for name, found in ask(inventory, fleet).items():
            if isinstance(found, Holding):
                recovered.holdings[name] = found
                for line in in_words(found) if found.state != "free" else ():
                    say(line)
            else:
                errors[name] = found
        if not recovered.found:
            if errors:
                raise _not_asked(errors)
            return recovered
        recovered.left += [
            f"{survey.why(error)}; it could not be asked what it holds, and its guard undoes that by itself"
            for error in errors.values()
        ]
        original = _original_zone(inventory, recovered.holdings)
        for name, holding in recovered.holdings.items():
            if holding.state == "held":
                recovered.holdings[name] = _outlast(clients[name], holding, interrupt, say)
        one = _Recovery(inventory, fleet, clients, recovered, interrupt, say)
        for host in (h for role in ("primary", "standby") for h in inventory.zone(role).hosts):
            one.attempt(host, one.heal)
        for host in inventory.gateway.hosts:
            one.attempt(host, one.restore)
        one.verify(original)
    return recovered


def _not_asked(errors: Mapping[str, DrillctlError]) -> HostError:
    """Return the error of an estate of which nothing is known to be outstanding, and not everything is known."""
    one = fleets.joined(list(errors.values()))
    names = ", ".join(sorted(errors))
    return HostError(
        f"{names} could not be asked what its guard holds: {one}",
        hint=one.hint or "see to it that every host can be reached, then run `drillctl recover` again",
        state="nothing was changed; no guard that could be asked holds anything",
    )


def ask(inventory: Inventory, fleet: Fleet) -> dict[str, Holding | DrillctlError]:
    """Return what the guards of connected hosts hold, or why one could not be asked."""

    def show(host: Host) -> Holding | DrillctlError:
        try:
            return GuardClient(fleet[host]).show()
        except HostError as error:
            return error

    return fleets.each([host for host in inventory.hosts if host.name in fleet.transports], show)


def _outlast(client: GuardClient, held: Holding, interrupt: Interrupt, say: Callable[[str], None]) -> Holding:
    """Wait until a lease runs out, and return what is held then. Raises Held when it is renewed meanwhile."""
    # It was looked at a while ago, when another host's was waited for meanwhile.
    last = client.show()
    if last.state == "held" and last.remaining > held.remaining:
        raise Held(last)
    if last.state == "held":
        say(f"{held.host}: waiting up to {last.remaining + 1} s: a drill that still runs would renew its lease by then")
    while last.state == "held":
        interrupt.sleep(1.0)
        now = client.show()
        if now.state == "held" and now.remaining > last.remaining:
            raise Held(now)
        last = now
    return last


def _original_zone(inventory: Inventory, holdings: Mapping[str, Holding]) -> str:
    """Return the zone that clients are given back to, as the gateways' guards hold it; else the primary.

    It is not the primary where a switch to the primary was killed.
    """
    held = [order for name in holdings for order in holdings[name].orders if order.id == gateway_orders.ID]
    zones = {gateway_orders.zone_of(inventory, order) for order in held}
    zone = zones.pop() if len(zones) == 1 else None
    return zone or inventory.zone("primary").name


class _Recovery:
    def __init__(
        self,
        inventory: Inventory,
        fleet: Fleet,
        clients: dict[str, GuardClient],
        recovered: Recovered,
        interrupt: Interrupt,
        say: Callable[[str], None],
    ) -> None:
        self.inventory = inventory
        self.fleet = fleet
        self.clients = clients
        self.recovered = recovered
        self.interrupt = interrupt
        self.say = say

    def attempt(self, host: Host, work: Callable[[Host, GuardClient], None]) -> None:
        """Take over one host's lease, put back what it holds, and give it back. Its trouble is noted, not raised."""
        holding = self.recovered.holdings.get(host.name)
        if holding is None or holding.state == "free":
            return
        client = self.clients[host.name]
        try:
            # It may have been undone, and the lease freed, while this recovery waited.
            now = client.show()
            if now.state == "free":
                self.done(host, "its guard has put everything back by itself")
                return
            if now.state == "held" or now.run != holding.run:
                # A drill that was late renewed its lease, or another one began; its lease is not to be taken.
                raise Held(now)
            memory = b"" if self.inventory.zone_of(host.name) is None else orders.memory(self.inventory, host)
            client.acquire(now.run, owner(), TTL, memory)
            work(host, client)
            client.release()
        except DrillctlError as error:
            self.recovered.left.append(str(error) if error.host else f"{host.name}: {error}")

    def done(self, host: Host, what: str) -> None:
        """Note what was put back."""
        self.recovered.done.append(f"{host.name}: {what}")
        self.say(f"{host.name}: {what}")

    def heal(self, host: Host, client: GuardClient) -> None:
        """Have a zone host's guard undo what it holds, the last first, and wait until the server is ready.

        A killed process is started from the inventory, because a guard that was restarted knows no command.
        """
        orders = client.show().orders
        if not orders:
            return
        begun = time.monotonic()
        for order in reversed(orders):
            if order.kind == "service.revive" and order.arguments[0] == "process":
                manager_of(self.inventory, host, self.fleet[host]).revive()
                client.strike(order.id)
            else:
                client.undo_one(order.id)
        self._wait_ready(host, client)
        self.done(host, f"its server runs, ready after {time.monotonic() - begun:.1f} s")

    def restore(self, host: Host, client: GuardClient) -> None:
        """Have the original config put back by the guard, which holds its bytes. Raises GatewayError when it is not."""
        deadline = time.monotonic() + SWITCH
        holding = client.show()
        original = next((order for order in holding.orders if order.id == gateway_orders.ID), None)
        while holding.orders:
            holding = client.undo()
            if holding.orders and time.monotonic() > deadline:
                why = holding.log[-1].partition(" ")[2] if holding.log else "its log says nothing"
                raise GatewayError(
                    f"the guard could not put back {', '.join(order.kind for order in holding.orders)}: {why}",
                    host=host.name,
                    state="clients are served by where the gateway points now, if at all",
                    hint="mend that, then run `drillctl recover` again",
                )
            if holding.orders:
                self.interrupt.sleep(1.0)
        if original is not None and original.kind == "gateway.restore":
            self._same_bytes(host, original.arguments[1])
        self.done(host, "its config is the original, staged files are gone")

    def verify(self, original: str) -> None:
        """See that every gateway within reach is configured for the original zone, and that it answers clients."""
        for host in self.inventory.gateway.hosts:
            if host.name not in self.fleet.transports:
                continue  # it is among what is left already
            try:
                config = self._read(host)
                if config.configured_zone != original:
                    named = config.configured_zone or f"no single zone: {config.reason}"
                    self.recovered.left.append(
                        f"{host.name}: the gateway is configured for {named}, not for {original}"
                    )
            except DrillctlError as error:
                self.recovered.left.append(str(error))
        deadline = time.monotonic() + SWITCH
        zone, problem = serving_zone(self.inventory)
        while zone != original and time.monotonic() < deadline and not self.recovered.left:
            self.interrupt.sleep(0.5)
            zone, problem = serving_zone(self.inventory)
        if zone != original:
            self.recovered.left.append(problem or f"clients are answered by {zone}, not by {original}")

    def _same_bytes(self, host: Host, sha256: str) -> None:
        found = self._read(host).host(host.name).sha256
        if found != sha256:
            raise GatewayError(f"the config's sha256 is {found}, the original's was {sha256}", host=host.name)

    def _read(self, host: Host) -> GatewayConfig:
        """Read the config of one gateway host: another one may be out of reach."""
        only = self.inventory.gateway.model_copy(update={"hosts": (host,)})
        alone = self.inventory.model_copy(update={"gateway": only})
        return gateway_of(alone, self.fleet.transports, "recover").read()

    def _wait_ready(self, host: Host, client: GuardClient) -> None:
        deadline = time.monotonic() + READY
        last = "it does not answer"
        renewed = time.monotonic()
        while time.monotonic() < deadline:
            if time.monotonic() - renewed > RENEW:
                client.renew()
                renewed = time.monotonic()
            try:
                path = self.inventory.service.paths.health
                health = survey.read_health(survey.ask(self.inventory, self.fleet, host, path, timeout=2.0))
                if health.ready:
                    return
                last = str(health)
            except HostError as error:
                last = error.message
            self.interrupt.sleep(0.5)
        raise HostError(f"its server is not ready after {READY:g} s: {last}", host=host.name, hint="look at its log")
