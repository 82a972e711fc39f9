"""Putting back what a killed drillctl left, from its journal, on hosts in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest
from drilled import drilled

from drillctl import journal as journals
from drillctl import recover, takeover
from drillctl.errors import Unreachable, UsageError
from drillctl.gateway.scripted import ScriptedGateway
from drillctl.guard.lease import Holding
from drillctl.hosts.fleet import Fleet
from drillctl.interrupt import Interrupt
from drillctl.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Machine

    from drillctl.errors import DrillctlError
    from drillctl.guard.lease import Order
    from drillctl.inventory import Inventory
    from drillctl.playbook import Playbook
    from drillctl.run import Run


@pytest.fixture(autouse=True)
def impatient(playbook_file: Path) -> None:
    """Wait a second for what does not come."""
    text = playbook_file.read_text().replace("  - step: heal\n", "  - step: heal\n    ready_seconds: 1\n")
    playbook_file.write_text(text)


@pytest.fixture
def gateway(connected: Run) -> ScriptedGateway:
    assert isinstance(connected.gateway, ScriptedGateway)
    return connected.gateway


@pytest.fixture
def killed(
    connected: Run,
    inventory_file: Path,
    playbook_file: Path,
    holdings: dict[str, Holding | Unreachable],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """Return the id of a run whose drillctl was killed after the switch; its hosts are as it left them.

    Their guards hold what `holdings` says: to begin with, that run everywhere.
    """
    monkeypatch.setenv("DRILLCTL_HOME", str(tmp_path / "home"))
    run_id, connected.folder = journals.new_run("loss-of-zone")
    connected.run_id = run_id
    connected.journal.close()
    connected.journal = Journal(connected.folder / "journal.jsonl")
    connected.journal.record("run", run_id=run_id, playbook_file=str(playbook_file), inventory_file=str(inventory_file))
    drilled(connected)
    assert connected.fleet is not None
    transports, gateway = connected.fleet.transports, connected.gateway
    holdings |= {name: Holding(name, "expired", 3, run_id, "ann", "then", 20) for name in transports}

    def connect_all(inventory: Inventory) -> tuple[Fleet, dict[str, DrillctlError]]:
        away = {name: held for name, held in holdings.items() if isinstance(held, Unreachable)}
        for transport in transports.values():
            transport.reconnect()
        return Fleet(inventory, {name: one for name, one in transports.items() if name not in away}), dict(away)

    def ask(_: Inventory, fleet: Fleet) -> dict[str, Holding]:
        return {name: held for name in fleet.transports if isinstance(held := holdings[name], Holding)}

    monkeypatch.setattr(takeover.fleets, "connect_all", connect_all)
    monkeypatch.setattr(takeover.recovery, "ask", ask)
    monkeypatch.setattr(takeover, "gateway_of", lambda *_: gateway)
    monkeypatch.setattr(takeover, "Guards", Leases)
    Leases.on.clear()
    Leases.told.clear()
    return run_id


class Leases:
    """The guards of the hosts that are taken over.

    `on` are the hosts whose lease was taken, by attempt; `told` are undos that guards were told anew, with their hosts.
    """

    on: ClassVar[list[set[str]]] = []
    told: ClassVar[set[tuple[str, str]]] = set()

    def __init__(self, _inventory: Inventory, fleet: Fleet, _run_id: str, _ttl: int) -> None:
        self.hosts = set(fleet.transports)

    def acquire(self, *, again: bool) -> None:
        assert again, "what the guards hold already must be known"
        self.on.append(self.hosts)

    def register(self, wanted: dict[str, Order]) -> None:
        assert self.hosts.issuperset(wanted)
        self.told.update((host, order.id) for host, order in wanted.items())

    def strike(self, _order_id: str, hosts: tuple[str, ...]) -> None:
        assert self.hosts.issuperset(hosts), "it was never this run's"

    def taken(self) -> list[Holding]:
        return []

    def start_beats(self, _on_lost: object) -> None: ...
    def quiet(self, wanted: bool) -> None: ...
    def release(self) -> None: ...
    def close(self) -> None: ...


@pytest.fixture
def holdings() -> dict[str, Holding | Unreachable]:
    """What the guard of each host holds, or why it cannot be asked."""
    return {}


def test_a_killed_run_is_found_and_put_back_from_its_journal(
    killed: str, connected: Run, estate: Inventory, machines: dict[str, Machine], gateway: ScriptedGateway
) -> None:
    assert connected.original is not None
    assert recover.unfinished() == [killed]
    assert recover.carry_out(killed, estate, Interrupt(), connected.watcher) == recover.Recovered([], [], True)
    assert recover.unfinished() == []
    assert gateway.files["gateway"] == connected.original.hosts[0].content
    assert machines["a-1"].running
    assert recover.carry_out(killed, estate, Interrupt(), connected.watcher).left == [], "safe to repeat"


def test_what_the_run_itself_puts_back_in_the_last_moment_is_not_put_back_again(
    killed: str, connected: Run, estate: Inventory, gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may end between the look at its journal and the claim of it; then there is nothing left to do."""
    claim = Journal.claim

    def ended_meanwhile(journal: Journal) -> None:
        for undo in journals.outstanding(journal.path):
            connected.journal.undone(undo)
        claim(journal)

    monkeypatch.setattr(Journal, "claim", ended_meanwhile)
    recover.carry_out(killed, estate, Interrupt(), connected.watcher)
    assert "restore" not in gateway.calls


@pytest.mark.parametrize("force", [True, False])
def test_a_recovered_run_gives_up_the_zone_that_the_run_gave_up(
    killed: str, connected: Run, estate: Inventory, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    connected.journal.path.write_text(
        connected.journal.path.read_text().replace(
            '"event": "run"', f'"event": "run", "force": {str(force).lower()}', 1
        )
    )
    forced: list[bool] = []
    take_over = takeover.carry_out

    def seen(run: Run, *, insist: bool) -> takeover.Taken:
        forced.append(run.force)
        return take_over(run, insist=insist)

    monkeypatch.setattr(recover.takeover, "carry_out", seen)
    recover.carry_out(killed, estate, Interrupt(), connected.watcher)
    assert forced == [force]


def test_what_could_not_be_put_back_stays_to_be_recovered(
    killed: str, connected: Run, estate: Inventory, machines: dict[str, Machine]
) -> None:
    machines["a-1"].broken = True
    left = recover.carry_out(killed, estate, Interrupt(), connected.watcher).left
    assert any("the gateway stays on the standby" in what for what in left)
    assert recover.unfinished() == [killed]
    machines["a-1"].broken = False
    assert recover.carry_out(killed, estate, Interrupt(), connected.watcher).left == []
    assert recover.unfinished() == []


def free(*hosts: str, epoch: int = 3) -> dict[str, Holding]:
    """Return what guards hold that have let go of everything."""
    return {host: Holding(host, epoch=epoch) for host in hosts}


def test_what_the_guards_have_undone_long_ago_is_not_undone_again(
    killed: str,
    connected: Run,
    estate: Inventory,
    machines: dict[str, Machine],
    gateway: ScriptedGateway,
    holdings: dict[str, Holding],
) -> None:
    """The next day the gateway was switched for real, with the same bytes, and the primary is down for maintenance."""
    holdings |= free("gateway", "a-1", "b-1", epoch=4)
    before = dict(gateway.files)
    done = recover.carry_out(killed, estate, Interrupt(), connected.watcher)
    assert (done.left, done.acted, Leases.on) == ([], False, [set()])
    assert gateway.files == before
    assert "restore" not in gateway.calls
    assert not machines["a-1"].running
    said = {what.partition(":")[0]: what for what in done.over}
    assert said.keys() == {"gateway", "a-1"}
    assert "nothing was touched there; its guard had undone what this run did" in said["a-1"]
    assert "Its server does not answer" in said["a-1"]
    assert "Its config is not the one from before the run" in said["gateway"]
    assert recover.unfinished() == [], "the journal is closed"


def test_what_its_guard_has_put_back_is_said_to_be_well(
    killed: str,
    connected: Run,
    estate: Inventory,
    machines: dict[str, Machine],
    gateway: ScriptedGateway,
    holdings: dict[str, Holding],
) -> None:
    assert connected.original is not None
    gateway.restore(connected.original, over=[host.sha256 for host in gateway.read().hosts])
    holdings |= free("gateway", "a-1", "b-1")
    machines["a-1"].running = machines["a-1"].serving = True
    done = recover.carry_out(killed, estate, Interrupt(), connected.watcher)
    said = {what.partition(":")[0]: what for what in done.over}
    assert said["gateway"].endswith("Its config is the one from before the run")
    assert said["a-1"].endswith("Its server is ready")


def test_a_host_that_another_run_holds_by_now_is_left_to_it(
    killed: str, connected: Run, estate: Inventory, gateway: ScriptedGateway, holdings: dict[str, Holding]
) -> None:
    holdings |= {name: Holding(name, "held", 4, "run-2", "eve", "noon", 20, 9) for name in ("gateway", "a-1", "b-1")}
    done = recover.carry_out(killed, estate, Interrupt(), connected.watcher)
    assert done.left == []
    assert all("run-2, by eve, holds it since noon: nothing was touched" in what for what in done.over)
    assert "restore" not in gateway.calls


def test_a_server_whose_guard_has_started_it_is_awaited_while_the_gateway_waits_for_it(
    killed: str,
    connected: Run,
    estate: Inventory,
    machines: dict[str, Machine],
    gateway: ScriptedGateway,
    holdings: dict[str, Holding],
) -> None:
    """A guard lets go once the start was ordered; the gateway goes back only when the server answers."""
    holdings |= free("a-1", "b-1")
    done = recover.carry_out(killed, estate, Interrupt(), connected.watcher)
    assert (done.left, done.over) == ([], [])
    assert Leases.on == [{"gateway", "a-1", "b-1"}]
    assert machines["a-1"].running
    assert gateway.read().configured_zone == "zone-a"


def test_a_standby_that_cannot_be_reached_does_not_keep_the_others_from_being_put_back(
    killed: str,
    connected: Run,
    estate: Inventory,
    gateway: ScriptedGateway,
    holdings: dict[str, Holding | Unreachable],
) -> None:
    holdings["b-1"] = Unreachable("no route", host="b-1")
    assert recover.carry_out(killed, estate, Interrupt(), connected.watcher).left == [], "nothing was left there"
    assert gateway.read().configured_zone == "zone-a"
    assert recover.unfinished() == []


@pytest.mark.parametrize("away", [("a-1",), ("gateway",), ("gateway", "a-1", "b-1")])
def test_what_is_on_a_host_that_cannot_be_reached_is_left_and_stays_to_be_recovered(
    killed: str,
    connected: Run,
    estate: Inventory,
    machines: dict[str, Machine],
    gateway: ScriptedGateway,
    holdings: dict[str, Holding | Unreachable],
    away: tuple[str, ...],
) -> None:
    there = dict(holdings)
    holdings |= {name: Unreachable("no route", host=name, hint="mend the route") for name in away}
    left = recover.carry_out(killed, estate, Interrupt(), connected.watcher).left
    words = {"a-1": ["let the supervisor"], "gateway": ["remove the staged", "put the original"], "b-1": []}
    for name in away:
        for undo in words[name]:
            assert any(
                what.startswith(f"{name}: {undo}") and "no route; mend the route; its guard undoes by itself" in what
                for what in left
            ), left
    assert machines["a-1"].running is ("a-1" not in away)
    assert recover.unfinished() == [killed]
    holdings |= there
    assert recover.carry_out(killed, estate, Interrupt(), connected.watcher).left == []
    assert gateway.read().configured_zone == "zone-a"
    assert recover.unfinished() == []


def test_where_a_guard_has_no_record_of_any_run_a_person_must_insist(
    killed: str, connected: Run, estate: Inventory, gateway: ScriptedGateway, holdings: dict[str, Holding]
) -> None:
    """Somebody deleted the guards' folders: whether they had undone anything before is not known."""
    holdings |= free("gateway", "a-1", "b-1", epoch=0)
    left = recover.carry_out(killed, estate, Interrupt(), connected.watcher).left
    assert len(left) == 3
    assert all("no record of this run or any other" in what and "--insist" in what for what in left)
    assert "restore" not in gateway.calls
    assert recover.carry_out(killed, estate, Interrupt(), connected.watcher, insist=True).left == []
    assert gateway.read().configured_zone == "zone-a"
    # Else a guard that got its first lease so, and let go of it, would look as if it had undone everything.
    assert Leases.told == {("gateway", "gateway.restore"), ("a-1", "service.revive")}


def test_a_host_that_is_lost_while_it_is_taken_over_leaves_a_list(
    killed: str,
    connected: Run,
    estate: Inventory,
    holdings: dict[str, Holding | Unreachable],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    holdings["gateway"] = Unreachable("no route", host="gateway")

    def lost(_leases: Leases, **_: object) -> None:
        raise Unreachable("the connection was lost", host="a-1")

    monkeypatch.setattr(Leases, "acquire", lost)
    left = recover.carry_out(killed, estate, Interrupt(), connected.watcher).left
    assert len(left) == 3
    assert all("a-1: the connection was lost" in what for what in left)
    assert recover.unfinished() == [killed]


def test_a_kept_config_that_was_altered_is_not_put_in_place(
    killed: str, connected: Run, estate: Inventory, gateway: ScriptedGateway
) -> None:
    kept = connected.folder / "before" / "gateway.conf"
    kept.write_bytes(kept.read_bytes() + b"# altered")
    with pytest.raises(UsageError, match="is not the original config any more"):
        recover.carry_out(killed, estate, Interrupt(), connected.watcher)
    assert "restore" not in gateway.calls


def test_the_inventory_of_a_run_is_known_from_its_journal(killed: str, inventory_file: Path) -> None:
    assert recover.inventory_of(killed) == inventory_file


@pytest.mark.parametrize("content", [None, b"", b'{"event": "ru'])
def test_a_run_that_left_no_record_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, playbook: Playbook
) -> None:
    monkeypatch.setenv("DRILLCTL_HOME", str(tmp_path))
    assert recover.unfinished() == []
    folder = tmp_path / "runs" / "some-run"
    if content is not None:
        folder.mkdir(parents=True)
        (folder / "journal.jsonl").write_bytes(content)
    with pytest.raises(UsageError, match=r"there is no run some-run|the journal of some-run is empty") as caught:
        recover.inventory_of("some-run")
    assert caught.value.state == "nothing was changed"
    assert recover.unfinished() == []
    assert recover.damaged() == {}


@pytest.mark.parametrize("first", [b'{"event": "ru', b"\x00\x00", b"7", b""])
def test_a_journal_that_is_damaged_in_its_first_line_is_not_called_empty(
    killed: str, connected: Run, estate: Inventory, first: bytes
) -> None:
    path = connected.journal.path
    path.write_bytes(first + b"\n" + path.read_bytes().split(b"\n", 1)[1])
    with pytest.raises(recover.Damaged, match="is damaged in its first line") as caught:
        recover.inventory_of(killed)
    assert "do not remove" in (caught.value.hint or "")
    assert recover.damaged().keys() == {killed}
    assert recover.unfinished() == recover.unfinished(estate) == []


def test_a_run_is_found_by_the_beginning_of_its_id_and_as_the_last(killed: str) -> None:
    assert recover.find(killed) == recover.find(killed[:6]) == recover.find("last") == recover.find("latest") == killed
    with pytest.raises(UsageError, match="there is no run 1999 on this machine"):
        recover.find("1999")
