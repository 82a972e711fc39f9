"""Which proof counts as that of the fault that clients were to notice, and what is still looked for after a `start`."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, ClassVar, Literal

import pytest

from drillctl.errors import Aborted, Inconclusive, LoginRefused, NotStarted
from drillctl.faults.disk_full import DiskFull
from drillctl.faults.fault import Fault, Place
from drillctl.faults.kill import Kill
from drillctl.faults.slow import Slow
from drillctl.hosts.fleet import Fleet
from drillctl.hosts.scripted import Answer, ScriptedTransport
from drillctl.language import ActionStep, ProbeStep, StartStep
from drillctl.run import Struck
from drillctl.steps import custom, heal, verify
from drillctl.steps import fault as faults
from drillctl.undo import Undo

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Machine

    from drillctl.inventory import Host, Inventory
    from drillctl.run import Run


class Late(Fault):
    """A fault whose proof comes when it is told to."""

    fault: Literal["late"] = "late"
    slow_to_prove: ClassVar[bool] = True
    proof: ClassVar[threading.Event] = threading.Event()

    def does(self, inventory: Inventory, host: Host) -> tuple[str, str]:
        return "", ""

    def undos(self, place: Place) -> tuple[Undo, ...]:
        return (Undo("service.revive", place.host.name, "start it"),)

    def inject(self, place: Place) -> str:
        return ""

    def prove(self, place: Place, said: str) -> str:
        self.proof.wait(10)
        return "seen"


def test_the_proof_of_another_fault_is_not_that_of_the_one_that_clients_notice(connected: Run) -> None:
    Late.proof.clear()
    faults.carry_out(connected, Kill(step="fault", zone="standby"))
    assert connected.moments.fault_proven is None
    assert connected.moments.other_proven is not None
    faults.carry_out(connected, Late(step="fault", zone="primary"))
    assert connected.moments.fault_proven is None, "only injected yet"
    Late.proof.set()
    faults.gather(connected)
    assert connected.moments.fault_proven is not None
    assert connected.proofs == []


def test_a_proof_that_is_under_way_when_the_drill_is_stopped_is_still_known(connected: Run) -> None:
    proof: Future[None] = Future()
    connected.proofs.append(proof)
    connected.interrupt.ask("SIGINT")
    with pytest.raises(Aborted):
        faults.gather(connected)
    assert connected.proofs == [proof]


def test_a_cold_start_asks_for_no_golden_image_and_its_fault_is_looked_for_no_more(
    connected: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected.findings.baseline = {"red.jpg": b"1"}
    monkeypatch.setattr(heal.golden, "of_host", lambda *_: pytest.fail("clients wait for the switch"))
    faults.carry_out(connected, Kill(step="fault", zone="standby"))
    heal.start_zone(connected, StartStep(step="start", zone="standby"))
    assert connected.findings.struck == []
    assert "b-1" in connected.findings.cold_starts


def test_a_login_that_is_refused_while_a_host_comes_back_is_tried_again(
    connected: Run, machines: dict[str, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [LoginRefused("not yet", host="a-1"), None]

    def reconnect() -> None:
        if (error := answers.pop(0)) is not None:
            raise error

    monkeypatch.setattr(machines["a-1"].transport, "reconnect", reconnect)
    connected.away.add("a-1")
    faults.carry_out(connected, Kill(step="fault", zone="primary"))
    heal.heal(connected, connected.inventory.hosts, 30, "heal")
    assert answers == []
    assert connected.away == set()


@pytest.mark.parametrize("fault", [Slow(step="fault", fault="slow"), DiskFull(step="fault", fault="disk-full")])
def test_what_is_gone_has_not_lasted(estate: Inventory, fault: Fault) -> None:
    host = estate.zone("primary").hosts[0]
    code = 0
    transport = ScriptedTransport(host.name, lambda ran: Answer(exit_code=code))
    place = Place("run", estate, host, Fleet(estate, {host.name: transport}), None)
    fault.still(place)
    code = 1
    with pytest.raises(Inconclusive, match="did not last"):
        fault.still(place)


def test_the_access_log_is_compared_with_servers_however_they_are_written(make_run: Callable[..., Run]) -> None:
    run = make_run()
    zone = run.inventory.zone("standby")
    named = zone.hosts[0].model_copy(update={"upstream": "B-1.Example"})
    other = run.inventory.model_copy(
        update={"zones": (run.inventory.zone("primary"), zone.model_copy(update={"hosts": (named,)}))}
    )
    run.inventory = other
    assert verify._say_log(run, {"b-1.example:80": 3, "10.0.1.1:8000": 1}, "zone-b", None) == (
        "access log: 3 of 4 by it"
    )


@pytest.mark.parametrize("step", [
    ProbeStep.model_validate({"step": "probe", "command": {"host": "b-1", "run": ["id"], "privileged": True}}),
    ActionStep.model_validate({"step": "action", "command": {"host": "b-1", "run": ["id"]}, "undo": ["id"]}),
])  # fmt: skip
def test_what_no_program_is_installed_for_is_refused_before_anything_is_changed(
    make_run: Callable[..., Run], estate: Inventory, step: ProbeStep | ActionStep
) -> None:
    installed = estate.model_copy(update={"ssh": estate.ssh.model_copy(update={"privileges": "installed"})})
    run = make_run(inventory=installed)
    run.playbook = run.playbook.model_copy(update={"steps": (*run.playbook.steps, step)})
    with pytest.raises(NotStarted) as caught:
        custom.check(run)
    assert caught.value.state == "nothing was changed"


def test_an_evidence_that_comes_after_the_healing_is_no_error(connected: Run) -> None:
    place = connected.place(connected.inventory.zone("primary").hosts[0])
    faults._note(connected, Struck(Kill(step="fault"), place), "seen")
    assert connected.findings.struck == []
