"""Ending a run's lease by hand: on every host that answers, whatever became of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drillctl.errors import HostError, Unreachable, UsageError
from drillctl.guard import breaking, recovery
from drillctl.guard.lease import Holding
from drillctl.hosts.fleet import Fleet
from drillctl.hosts.scripted import ScriptedTransport

if TYPE_CHECKING:
    from drillctl.errors import DrillctlError
    from drillctl.inventory import Inventory

RUN = "20260101T000000Z-switch-0000"


class Guards:
    """The guards of all hosts; `broken` are those that were told, in order, and with which words."""

    def __init__(self, inventory: Inventory, monkeypatch: pytest.MonkeyPatch, away: tuple[str, ...]) -> None:
        self.broken: list[tuple[str, bool]] = []
        self.holdings = {h.name: Holding(h.name, "stuck", 3, RUN, "ann", "then", 20) for h in inventory.hosts}
        errors: dict[str, DrillctlError] = {name: Unreachable("no route", host=name) for name in away}
        fleet = Fleet(inventory, {name: ScriptedTransport(name, {}) for name in self.holdings if name not in away})
        monkeypatch.setattr(breaking.fleets, "connect_all", lambda _: (fleet, errors))
        for module in (breaking, recovery):
            monkeypatch.setattr(module, "GuardClient", lambda transport: Client(self, transport.host))


class Client:
    def __init__(self, guards: Guards, host: str) -> None:
        self.guards, self.host = guards, host

    def show(self) -> Holding:
        return self.guards.holdings[self.host]

    def break_lease(self, run: str, *, forget: bool) -> Holding:
        assert run == self.show().run
        self.guards.broken.append((self.host, forget))
        return Holding(self.host)


def test_a_dead_zone_does_not_keep_the_gateway_from_being_freed(
    estate: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    guards, said = Guards(estate, monkeypatch, ("a-1",)), list[str]()
    broken = breaking.carry_out(estate, RUN, forget=True, say=said.append)
    assert guards.broken == [("b-1", True), ("gateway", True)]
    assert (broken.left, broken.away) == ([], ["a-1"])
    assert said[-1] == "a-1: no route. It could not be told, and its guard undoes what it holds by itself"


def test_a_run_that_nobody_holds_is_refused(estate: Inventory, monkeypatch: pytest.MonkeyPatch) -> None:
    guards = Guards(estate, monkeypatch, ())
    with pytest.raises(UsageError, match="no host's lease is held by other") as caught:
        breaking.carry_out(estate, "other", forget=False, say=print)
    assert RUN in (caught.value.hint or "")
    assert guards.broken == []


def test_that_nobody_holds_it_is_not_said_of_hosts_that_cannot_be_asked(
    estate: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    Guards(estate, monkeypatch, ("gateway",))
    with pytest.raises(HostError, match="no host that can be asked holds a lease of other; gateway could not be asked"):
        breaking.carry_out(estate, "other", forget=False, say=print)
