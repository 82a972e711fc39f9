"""Putting things back, on hosts in memory: all of it, in order, whatever fails on the way, and never to a dead zone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drillctl import journal as journals
from drillctl import recover, restore
from drillctl.errors import Aborted, GatewayError, Unreachable, UsageError
from drillctl.faults import KINDS
from drillctl.gateway.scripted import ScriptedGateway
from drillctl.guard.lease import Holding
from drillctl.hosts.scripted import ScriptedTransport
from drillctl.interrupt import Interrupt
from drillctl.journal import Journal
from drillctl.steps import arm, fault
from drillctl.undo import Undo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Machine

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


def drilled(run: Run) -> Run:
    """Do what a drill does up to its restore: stage, kill, switch; without clients."""
    arm.carry_out(run)
    run.section = "steps"
    fault.carry_out(run, KINDS["kill"](step="fault"))
    _, gateway = run.live()
    assert run.staged is not None
    undo = Undo("gateway.restore", "", "put the original gateway config back")
    with run.step("switch", "gateway", undo):
        gateway.activate(run.staged)
    assert served_by(run) == "10.0.2.1:8000"
    return run


def served_by(run: Run) -> str:
    """Return the server that the gateway's live file enables."""
    assert isinstance(run.gateway, ScriptedGateway)
    (config,) = run.gateway.read().hosts
    return next(server.address for server in config.servers if server.state == "enabled")


class Told:
    """Guards that note what they are told to undo and to strike out."""

    def __init__(self) -> None:
        self.undone: list[tuple[str, tuple[str, ...]]] = []
        self.struck: list[str] = []
        self.others: list[Holding] = []

    def taken(self) -> list[Holding]:
        return self.others

    def quiet(self, wanted: bool) -> None:
        pass

    def undo_held(self, order_id: str, hosts: tuple[str, ...]) -> None:
        self.undone.append((order_id, hosts))

    def strike(self, order_id: str, hosts: tuple[str, ...]) -> None:
        self.struck.append(order_id)

    def release(self) -> None:
        pass


def test_what_was_staged_by_half_is_removed_by_the_guard_which_knows_where_it_is(connected: Run) -> None:
    told = Told()
    connected.guards = told  # type: ignore[assignment]
    # As the journal of a drill has it that was killed while it staged.
    connected.outstanding.add(Undo("gateway.discard", "", "remove the staged config", {"run": connected.run_id}))
    restore.carry_out(connected, stop_started=False)
    assert told.undone == [("gateway.discard", ("gateway",))]
    assert told.struck == ["gateway.discard"]
    assert connected.findings.left == []


def test_what_another_drill_holds_by_now_is_left_to_it(
    connected: Run, machines: dict[str, Machine], gateway: ScriptedGateway
) -> None:
    """The machine slept, the guards undid and freed, somebody else drills: the same unit down, the same config."""
    drilled(connected)
    told, at = Told(), gateway.files["gateway"]
    told.others = [Holding(name, "held", 2, "run-2", "ann", "noon") for name in ("gateway", "a-1")]
    connected.guards = told  # type: ignore[assignment]
    restore.carry_out(connected, stop_started=True)
    assert not machines["a-1"].running
    assert gateway.files["gateway"] == at
    assert {"restore", "discard"}.isdisjoint(gateway.calls)
    assert [what.partition(":")[0] for what in connected.findings.left] == ["gateway", "a-1"]
    assert "run-2, by ann, holds it since noon: nothing was touched there" in connected.findings.left[0]
    assert list(journals.outstanding(connected.journal.path)) == [], "`recover` must not come into its way either"


def started_by_the_drill(run: Run, machine: Machine) -> None:
    machine.running = machine.serving = True
    run.findings.started.append("b-1")
    with run.step("start", "b-1", Undo("service.stop", "b-1", "stop the server that the drill started")):
        pass


def test_a_guard_that_is_lost_stops_the_drill_and_gives_its_host_up(connected: Run) -> None:
    fleet, _ = connected.live()
    connected.section = "steps"
    connected.lost("a-1", "the lease was broken", True)
    assert fleet.lost == set()
    connected.lost("gateway", "no answer", False)
    assert fleet.lost == {"gateway"}
    with pytest.raises(Aborted, match="the lease was broken"):
        connected.interrupt.check()


def test_what_is_being_restored_goes_on_when_a_guard_is_lost(connected: Run) -> None:
    fleet, _ = connected.live()
    connected.section = "restore"
    connected.lost("gateway", "no answer", False)
    assert fleet.lost == set()
    connected.interrupt.check()


def test_a_restore_logs_in_again_where_the_connection_was_lost(
    connected: Run, machines: dict[str, Machine], gateway: ScriptedGateway
) -> None:
    """As after an sshd that was restarted: what is left to do there must not be left to the guard."""
    run = drilled(connected)
    fleet, _ = run.live()
    run.lost("a-1", "no answer", False)
    assert fleet.lost == {"a-1"}
    restore.carry_out(run, stop_started=False)
    assert (fleet.lost, run.findings.left) == (set(), [])
    assert machines["a-1"].running
    assert gateway.read().configured_zone == "zone-a"


def test_a_host_that_stays_away_is_given_up_after_one_attempt(connected: Run) -> None:
    run = drilled(connected)
    fleet, _ = run.live()
    transport = fleet["a-1"]
    assert isinstance(transport, ScriptedTransport)
    transport.fail = Unreachable("no route", host="a-1")
    run.lost("a-1", "no answer", False)
    restore.carry_out(run, stop_started=False)
    assert fleet.lost == {"a-1"}
    assert any("no route" in left for left in run.findings.left)


def test_everything_is_put_back_and_nothing_is_outstanding(
    connected: Run, machines: dict[str, Machine], gateway: ScriptedGateway
) -> None:
    before = dict(gateway.files)
    restore.carry_out(drilled(connected), stop_started=False)
    assert connected.findings.left == []
    assert len(connected.outstanding) == 0
    assert list(journals.outstanding(connected.journal.path)) == []
    assert gateway.files == gateway.in_force == before
    assert gateway.staged == {}
    assert connected.findings.config_identical is True
    assert (machines["a-1"].running, machines["a-1"].held) == (True, False)
    steps = [record.name for record in connected.records if record.section == "restore"]
    assert steps == ["heal", "failback", "disarm"]


def test_putting_back_twice_changes_nothing_more(connected: Run, gateway: ScriptedGateway) -> None:
    restore.carry_out(drilled(connected), stop_started=False)
    calls, files = list(gateway.calls), dict(gateway.files)
    restore.carry_out(connected, stop_started=False)
    assert gateway.calls[len(calls) :] == ["read"]
    assert gateway.files == files
    assert connected.findings.left == []


def test_clients_stay_with_the_standby_when_the_primary_does_not_come_back(
    connected: Run, machines: dict[str, Machine]
) -> None:
    machines["a-1"].broken = True
    restore.carry_out(drilled(connected), stop_started=False)
    heal, failback, config = connected.findings.left
    assert heal.startswith("heal: a-1: not ready after")
    assert failback.startswith("failback: the gateway stays on the standby, because zone-a is not fit to serve")
    assert config == "the gateway's config is not the one from before the drill"
    assert served_by(connected) == "10.0.2.1:8000"
    kinds = {undo.kind for undo in journals.outstanding(connected.journal.path)}
    assert kinds == {"service.revive", "gateway.restore"}, "recover knows what is left to do"


def test_a_primary_that_only_seems_dead_to_the_heal_is_not_given_clients(
    connected: Run, machines: dict[str, Machine]
) -> None:
    """The undo of the fault could not be made, and yet the server answers: a supervisor may still be held back."""
    drilled(connected)
    machines["a-1"].transport.fail = Unreachable("no answer", host="a-1")
    machines["a-1"].serving = True
    restore.carry_out(connected, stop_started=False)
    assert served_by(connected) == "10.0.2.1:8000"
    assert any("a-1 is not healed" in what or "no answer" in what for what in connected.findings.left)


def test_what_else_can_be_put_back_is_put_back_when_the_gateway_cannot(
    connected: Run, machines: dict[str, Machine], gateway: ScriptedGateway
) -> None:
    started_by_the_drill(connected, machines["b-1"])
    drilled(connected)
    gateway.fail["restore"] = GatewayError("the disk is full", host="gateway")
    restore.carry_out(connected, stop_started=True)
    assert connected.findings.left[0] == "failback: gateway: the disk is full"
    assert machines["a-1"].running
    assert not machines["b-1"].running, "what the drill had started was stopped"
    assert [undo.kind for undo in connected.outstanding] == ["gateway.restore"]


def test_a_bug_in_one_part_does_not_keep_the_others_from_being_put_back(
    connected: Run, gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    drilled(connected)

    def bug(*, restart: bool) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(connected.services["a-1"], "revive", bug)
    restore.carry_out(connected, stop_started=False)
    assert connected.findings.left[0] == "heal: a bug in drillctl, ZeroDivisionError: a bug"
    assert "discard" in gateway.calls
    assert connected.findings.config_identical is False


def test_a_full_disk_does_not_keep_things_from_being_put_back(
    connected: Run, machines: dict[str, Machine], gateway: ScriptedGateway
) -> None:
    from pathlib import Path as File

    drilled(connected)
    connected.journal.close()
    connected.journal = Journal(File("/dev/full"))
    before = connected.original
    restore.carry_out(connected, stop_started=False)
    connected.journal.close()
    connected.journal = Journal(connected.folder / "journal.jsonl")
    assert connected.findings.left == []
    assert machines["a-1"].running
    assert before is not None
    assert gateway.files["gateway"] == before.hosts[0].content


def test_what_somebody_else_wrote_meanwhile_is_left_and_told(connected: Run, gateway: ScriptedGateway) -> None:
    drilled(connected)
    gateway.files["gateway"] = gateway.files["gateway"] + b"# by hand\n"
    restore.carry_out(connected, stop_started=False)
    assert connected.findings.left[0] == "failback: gateway: someone changed it during the drill"
    assert gateway.files["gateway"].endswith(b"# by hand\n")


def test_a_config_that_is_in_place_but_not_in_force_is_not_put_back(connected: Run, gateway: ScriptedGateway) -> None:
    drilled(connected)
    gateway.applies = False
    restore.carry_out(connected, stop_started=False)
    assert connected.findings.left[0].startswith("failback: gateway: the config is not in force")
    assert [undo.kind for undo in connected.outstanding] == ["gateway.restore"]


@pytest.mark.parametrize("stop", [True, False])
def test_a_started_server_is_stopped_where_that_is_wanted(
    connected: Run, machines: dict[str, Machine], stop: bool
) -> None:
    started_by_the_drill(connected, machines["b-1"])
    restore.carry_out(connected, stop_started=stop)
    assert machines["b-1"].running is not stop
    assert len(connected.outstanding) == 0


def test_before_anything_was_changed_there_is_nothing_to_do(connected: Run, gateway: ScriptedGateway) -> None:
    restore.carry_out(connected, stop_started=True)
    assert gateway.calls == []
    assert connected.findings.left == []
    assert connected.records == []


def test_what_is_outstanding_is_never_passed_over_in_silence(connected: Run) -> None:
    drilled(connected)
    connected.original = None
    restore.carry_out(connected, stop_started=False)
    assert connected.findings.left == ["failback: the gateway's original config was not kept in the run's folder"]


def test_a_stop_while_restoring_does_not_stop_it(connected: Run, machines: dict[str, Machine]) -> None:
    drilled(connected)
    connected.interrupt.ask("SIGINT")
    restore.carry_out(connected, stop_started=False)
    assert connected.findings.left == []
    assert machines["a-1"].running


def test_a_gateway_that_cannot_be_read_at_the_end_of_a_switch_is_told(connected: Run, gateway: ScriptedGateway) -> None:
    """The switch was made: it must end with a report, and what its guards hold must not be given up."""
    drilled(connected)
    gateway.fail["read"] = Unreachable("no answer", host="gateway")
    restore.keep(connected)
    assert connected.findings.left == ["the gateway's config could not be read again: gateway: no answer"]
    assert connected.records[-1].status == "failed"
    assert not connected.findings.kept


# ---- from the journal, by another drillctl


@pytest.fixture
def killed(
    connected: Run,
    inventory_file: Path,
    playbook_file: Path,
    connect_again: Callable[[Run], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """Return the id of a run whose drillctl was killed after the switch; its hosts are as it left them."""
    monkeypatch.setenv("DRILLCTL_HOME", str(tmp_path / "home"))
    run_id, connected.folder = journals.new_run("loss-of-zone")
    connected.run_id = run_id
    connected.journal.close()
    connected.journal = Journal(connected.folder / "journal.jsonl")
    connected.journal.record("run", run_id=run_id, playbook_file=str(playbook_file), inventory_file=str(inventory_file))
    drilled(connected)
    gateway = connected.gateway

    def connect(run: Run) -> None:
        run.gateway = gateway
        connect_again(run)

    monkeypatch.setattr(recover.connect, "carry_out", connect)
    return run_id


def test_a_killed_run_is_found_and_put_back_from_its_journal(
    killed: str, connected: Run, estate: Inventory, machines: dict[str, Machine], gateway: ScriptedGateway
) -> None:
    assert connected.original is not None
    assert recover.unfinished() == [killed]
    assert recover.carry_out(killed, estate, Interrupt(), connected.watcher) == []
    assert recover.unfinished() == []
    assert gateway.files["gateway"] == connected.original.hosts[0].content
    assert machines["a-1"].running
    assert recover.carry_out(killed, estate, Interrupt(), connected.watcher) == [], "safe to repeat"


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
    connect = recover.connect.carry_out
    monkeypatch.setattr(recover.connect, "carry_out", lambda run: (forced.append(run.force), connect(run)))
    recover.carry_out(killed, estate, Interrupt(), connected.watcher)
    assert forced == [force]


def test_what_could_not_be_put_back_stays_to_be_recovered(
    killed: str, connected: Run, estate: Inventory, machines: dict[str, Machine]
) -> None:
    machines["a-1"].broken = True
    left = recover.carry_out(killed, estate, Interrupt(), connected.watcher)
    assert any("the gateway stays on the standby" in what for what in left)
    assert recover.unfinished() == [killed]
    machines["a-1"].broken = False
    assert recover.carry_out(killed, estate, Interrupt(), connected.watcher) == []
    assert recover.unfinished() == []


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
