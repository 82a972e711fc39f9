"""Putting things back, on hosts in memory: all of it, in order, whatever fails on the way, and never to a dead zone."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest
from drilled import drilled
from rich.console import Console

from drillctl import journal as journals
from drillctl import restore
from drillctl.cli.progress import Progress
from drillctl.cli.streams import Stream
from drillctl.errors import Aborted, GatewayError, Unreachable
from drillctl.gateway.scripted import ScriptedGateway
from drillctl.guard.lease import Holding
from drillctl.hosts.scripted import ScriptedTransport
from drillctl.journal import Journal
from drillctl.undo import Undo

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from conftest import Machine

    from drillctl.gateway.gateway import Activation, GatewayConfig
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


def test_a_connection_that_is_lost_while_restoring_is_there_again_for_the_lease_to_be_given_back(
    connected: Run, gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = drilled(connected)
    fleet, _ = run.live()
    put_back = gateway.restore

    def lost_meanwhile(original: GatewayConfig, *, over: Collection[str] = ()) -> Activation:
        fleet["b-1"].close()
        return put_back(original, over=over)

    monkeypatch.setattr(gateway, "restore", lost_meanwhile)
    restore.carry_out(run, stop_started=False)
    assert fleet["b-1"].connected
    assert run.findings.left == []


def test_a_host_that_stays_away_is_given_up_after_one_attempt(connected: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run = drilled(connected)
    fleet, _ = run.live()
    transport = fleet["a-1"]
    assert isinstance(transport, ScriptedTransport)
    transport.fail = Unreachable("no route", host="a-1")
    attempts: list[list[str]] = []
    monkeypatch.setattr(
        fleet, "reconnect", lambda hosts, _: attempts.append(list(hosts)) or dict.fromkeys(hosts, False)
    )
    run.lost("a-1", "no answer", False)
    restore.carry_out(run, stop_started=False)
    assert fleet.lost == {"a-1"}
    assert attempts == [["a-1"], []]
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


def test_not_even_a_request_to_exit_keeps_the_rest_from_being_put_back(
    connected: Run, machines: dict[str, Machine], gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a library raises it that cannot print."""
    drilled(connected)

    def leave(_: Run) -> None:
        raise SystemExit(1)

    for part in ("_await_proofs", "_finish_traffic", "_failback"):
        monkeypatch.setattr(restore, part, lambda run, *_: leave(run))
    restore.carry_out(connected, stop_started=False)
    assert machines["a-1"].running
    assert "discard" in gateway.calls
    assert connected.findings.left[:3] == [
        "proofs under way: a bug in drillctl, SystemExit: 1",
        "failback: a bug in drillctl, SystemExit: 1",
        "traffic: a bug in drillctl, SystemExit: 1",
    ]


def test_everything_is_put_back_although_nobody_reads_what_is_said(
    connected: Run, machines: dict[str, Machine], gateway: ScriptedGateway
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    said = io.TextIOWrapper(io.BufferedWriter(Stream(writer, needed=False)))
    connected.watcher = progress = Progress(Console(file=said))
    restore.carry_out(drilled(connected), stop_started=False)
    progress.close()
    os.close(writer)
    assert connected.findings.left == []
    assert machines["a-1"].running
    assert served_by(connected) == "10.0.1.1:8000"


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
