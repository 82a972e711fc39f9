"""Taking a run over: which hosts are still its own, and gateways of which one is not like the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drillctl import journal as journals
from drillctl import takeover
from drillctl.errors import Unreachable
from drillctl.gateway.scripted import ScriptedGateway
from drillctl.guard.lease import Holding
from drillctl.hosts.fleet import Fleet
from drillctl.hosts.scripted import ScriptedTransport
from drillctl.inventory import Host
from drillctl.undo import Undo

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.inventory import Inventory
    from drillctl.run import Run

RUN = "20260101T000000Z-loss-of-zone-0000"
RESTORE = Undo("gateway.restore", "", "put the original gateway config back")
CONFIG = b"upstream recognition {\n    server 10.0.1.1:8000;\n    # server 10.0.2.1:8000;\n}\n"


def held(host: str, run: str = RUN) -> Holding:
    return Holding(host, "stuck", 5, run, "ann", "then", 20)


@pytest.mark.parametrize(
    ("gateway", "zone", "standing"),
    [
        (held("g"), held("a"), ("ours", "ours")),
        (held("g"), Holding("a", epoch=5), ("ours", "ours")),
        (held("g"), Holding("a"), ("ours", "ours")),
        (held("g"), held("a", "other"), ("ours", "over")),
        (Holding("g", epoch=6), held("a"), ("over", "ours")),
        (Holding("g", epoch=5), Holding("a", epoch=5), ("over", "over")),
        (held("g", "other"), Holding("a", epoch=5), ("over", "over")),
        (Holding("g"), Holding("a", epoch=5), ("unknown", "over")),
        (Holding("g"), Holding("a"), ("unknown", "unknown")),
    ],
)
def test_what_a_host_is_to_a_run_is_told_by_what_its_guard_holds(
    gateway: Holding, zone: Holding, standing: tuple[str, str]
) -> None:
    holdings = {"g": gateway, "a": zone}
    found = takeover.standings(RUN, holdings, {"g"}, insist=False)
    assert (found["g"], found["a"]) == standing
    insisted = takeover.standings(RUN, holdings, {"g"}, insist=True)
    assert insisted == {name: "ours" if found[name] == "unknown" else found[name] for name in found}


@pytest.fixture
def two(estate: Inventory) -> Inventory:
    """The estate with a second gateway host."""
    hosts = (*estate.gateway.hosts, Host(name="gateway-2", address="10.0.0.2"))
    return estate.model_copy(update={"gateway": estate.gateway.model_copy(update={"hosts": hosts})})


@pytest.mark.parametrize("second", ["away", "over"])
def test_of_two_gateways_the_one_that_is_the_runs_own_is_put_back(
    two: Inventory, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    run = make_run(inventory=two)
    run.original = ScriptedGateway(two, CONFIG).read()
    with run.step("switch", "gateway, gateway-2", RESTORE):
        pass
    holdings = {"gateway": held("gateway"), "gateway-2": Holding("gateway-2", epoch=5)}
    transports = {name: ScriptedTransport(name, {}) for name in holdings}
    away = {"gateway-2": Unreachable("no route", host="gateway-2")} if second == "away" else {}
    for name in away:
        transports.pop(name)
    leased: list[set[str]] = []

    class Leases:
        def __init__(self, _: Inventory, fleet: Fleet, *__: object) -> None:
            leased.append(set(fleet.transports))

        def acquire(self, *, again: bool) -> None: ...
        def start_beats(self, _: object) -> None: ...

    monkeypatch.setattr(takeover.fleets, "connect_all", lambda _: (Fleet(two, transports), dict(away)))
    monkeypatch.setattr(takeover.recovery, "ask", lambda _, fleet: {name: holdings[name] for name in fleet.transports})
    monkeypatch.setattr(takeover, "gateway_of", lambda inventory, *_: ScriptedGateway(inventory, CONFIG))
    monkeypatch.setattr(takeover, "Guards", Leases)
    taken = takeover.carry_out(run, insist=False)
    assert leased == [{"gateway"}]
    assert [undo.host for undo in run.outstanding] == ["gateway"]
    assert [host.name for host in run.inventory.gateway.hosts] == ["gateway"]
    assert [config.host for config in run.original.hosts] == ["gateway"]
    left = {undo.host for undo in journals.outstanding(run.journal.path)}
    if second == "away":
        assert taken.left == [f"gateway-2: {RESTORE.words}: no route; its guard undoes by itself"]
        assert left == {"gateway", "gateway-2"}
    else:
        assert [what.partition(":")[0] for what in taken.over] == ["gateway-2"]
        assert left == {"gateway"}


def test_a_host_that_the_inventory_does_not_name_any_more_is_left(
    estate: Inventory, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    with run.step("fault", "a-9", Undo("service.revive", "a-9", "start it again")):
        pass
    errors = {host.name: Unreachable("no route", host=host.name) for host in estate.hosts}
    monkeypatch.setattr(takeover.fleets, "connect_all", lambda _: (Fleet(estate, {}), errors))
    taken = takeover.carry_out(run, insist=False)
    assert taken.left == ["a-9: start it again: there is no such host in the inventory"]
