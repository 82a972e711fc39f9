"""Recovery from what guards hold: which zone must serve in the end, a gateway host that is down, a drill that lives."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from drillctl.errors import HostError, Unreachable
from drillctl.gateway.scripted import ScriptedGateway
from drillctl.guard import gateway_orders, orders, recovery
from drillctl.guard.lease import Held, Holding, Lease, Order
from drillctl.hosts.fleet import Fleet
from drillctl.hosts.scripted import ScriptedTransport
from drillctl.interrupt import Interrupt
from drillctl.inventory import Host, Inventory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drillctl.errors import DrillctlError
    from drillctl.gateway.gateway import Gateway
    from drillctl.hosts.transport import Transport

ON_A = b"upstream recognition {\n    server 10.0.1.1:8000;\n    # server 10.0.2.1:8000;\n}\n"
ON_B = b"upstream recognition {\n    # server 10.0.1.1:8000;\n    server 10.0.2.1:8000;\n}\n"
KILLED = Holding("gateway", "expired", 1, "run-1", "ann", "then", 20)


class Guard:
    """The guard of one host, which says what `holding` is, and undoes whatever it is told to."""

    def __init__(self, holding: Holding) -> None:
        self.holding = holding
        self.taken = 0

    def show(self) -> Holding:
        return self.holding

    def acquire(self, run: str, owner: str, ttl: int, memory: bytes = b"") -> Lease:
        if run != self.holding.run:
            raise Held(self.holding)
        self.taken += 1
        return Lease(self.holding.host, "/f", 2, ttl)

    def undo(self) -> Holding:
        self.holding = replace(self.holding, orders=())
        return self.holding

    def release(self) -> None:
        self.holding = Holding(self.holding.host)


@pytest.fixture
def inventory(estate: Inventory) -> Inventory:
    """The estate with a second gateway host, which is down."""
    hosts = (*estate.gateway.hosts, Host(name="gateway-2", address="10.0.0.2"))
    return estate.model_copy(update={"gateway": estate.gateway.model_copy(update={"hosts": hosts})})


def order_of(inventory: Inventory, content: bytes) -> Order:
    """Return the undo that the first gateway's guard holds when its config was `content`."""
    original = ScriptedGateway(inventory, content).read()
    return orders.restore(inventory, original, None)["gateway"]


def recover(
    inventory: Inventory,
    guard: Guard,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    errors: dict[str, DrillctlError] | None = None,
) -> recovery.Recovered:
    """Recover with one gateway in reach; afterwards its config is `content`, and so clients are served."""

    def gateway_of(inventory: Inventory, transports: Mapping[str, Transport], _: str) -> Gateway:
        assert all(host.name in transports for host in inventory.gateway.hosts), "it is out of reach"
        return ScriptedGateway(inventory, content)

    zone = "zone-a" if content == ON_A else "zone-b"
    fleet = Fleet(inventory, {"gateway": ScriptedTransport("gateway", {})})
    monkeypatch.setattr(recovery.fleets, "connect_all", lambda _: (fleet, dict(errors or {})))
    monkeypatch.setattr(recovery, "GuardClient", lambda _: guard)
    monkeypatch.setattr(recovery, "gateway_of", gateway_of)
    monkeypatch.setattr(recovery, "serving_zone", lambda _: (zone, None))
    monkeypatch.setattr(recovery, "SWITCH", 0.1)
    with Interrupt() as interrupt:
        return recovery.carry_out(inventory, interrupt, lambda _: None)


@pytest.mark.parametrize("content", [ON_A, ON_B])
def test_a_gateway_goes_back_to_the_zone_that_it_named_whatever_its_role(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """As after a switch to the primary that was killed: the standby had served, and serves again."""
    turned = inventory if content == ON_A else inventory.turned()
    guard = Guard(replace(KILLED, orders=(order_of(turned, content),)))
    assert recover(inventory, guard, monkeypatch, content).left == []
    assert guard.taken == 1


def test_a_gateway_on_the_standby_is_told_when_the_primary_had_served(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = Guard(replace(KILLED, orders=(replace(order_of(inventory, ON_A), kind="gateway.flag"),)))
    assert recover(inventory, guard, monkeypatch, ON_B).left == [
        "gateway: the gateway is configured for zone-b, not for zone-a",
        "clients are answered by zone-b, not by zone-a",
    ]


def test_a_host_that_cannot_be_asked_is_left_when_another_one_holds_something(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = Guard(replace(KILLED, orders=(order_of(inventory, ON_A),)))
    errors = {"a-1": Unreachable("no route", host="a-1")}
    left = recover(inventory, guard, monkeypatch, ON_A, errors).left
    assert left == ["a-1: no route; it could not be asked what it holds, and its guard undoes that by itself"]


def test_nothing_is_called_outstanding_when_hosts_cannot_be_asked_and_the_others_hold_nothing(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = {"a-1": Unreachable("no route", host="a-1", hint="mend the route")}
    with pytest.raises(HostError, match="a-1 could not be asked what its guard holds: a-1: no route") as caught:
        recover(inventory, Guard(Holding("gateway")), monkeypatch, ON_A, errors)
    assert (caught.value.exit_code, caught.value.hint) == (4, "mend the route")
    assert "nothing was changed" in (caught.value.state or "")


def test_an_order_of_no_known_zone_tells_of_none(inventory: Inventory) -> None:
    assert gateway_orders.zone_of(inventory, Order("gateway.restore", "gateway.restore", ("x", "http://1/"))) is None


@pytest.mark.parametrize("now", [replace(KILLED, state="held", remaining=9), replace(KILLED, run="run-2")])
def test_a_lease_that_lives_again_is_left_alone(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch, now: Holding
) -> None:
    """A drill that was late renewed its lease, or another one began, after it was looked at."""
    guard = Guard(replace(KILLED, orders=(order_of(inventory, ON_A),)))
    looks = [guard.holding]

    def show() -> Holding:
        seen = looks.pop() if looks else replace(now, orders=guard.holding.orders)
        guard.holding = seen
        return seen

    monkeypatch.setattr(guard, "show", show)
    left = recover(inventory, guard, monkeypatch, ON_A).left
    assert guard.taken == 0
    assert len(left) == 1
    assert now.run in left[0]
