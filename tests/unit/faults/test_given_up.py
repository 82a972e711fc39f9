"""Proofs that take long end at their next look when things are put back: clients must not wait for them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from drillctl import restore
from drillctl.errors import Inconclusive
from drillctl.faults import KINDS
from drillctl.faults.fault import Place
from drillctl.hosts.fleet import Fleet
from drillctl.hosts.scripted import Answer, Page, ScriptedTransport
from drillctl.hosts.service import manager_of
from drillctl.steps import fault as faults

if TYPE_CHECKING:
    from conftest import Machine

    from drillctl.inventory import Inventory
    from drillctl.run import Run

LOADING = Page(b'{"status": "loading"}', 503)


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("model", b""),
        ("gpu-lost", b""),
        ("reboot", b""),
        ("broken-dependency", b"failed=0 open=0 ActiveState=activating"),
        ("crash-loop", b"failed=1 open=0 SubState=auto-restart"),
    ],
)
def test_a_proof_is_given_up_at_its_next_look(estate: Inventory, kind: str, shown: bytes) -> None:
    host = estate.zone("primary").hosts[0]
    transport = ScriptedTransport(host.name, lambda _: Answer(shown or b"0"), server=lambda *_: LOADING)
    fleet = Fleet(estate, {host.name: transport})
    place = Place("run", estate, host, fleet, manager_of(estate, host, transport))
    fault = KINDS[kind](step="fault", fault=kind)
    timer = threading.Timer(0.3, place.given_up.set)
    timer.start()
    begun = time.monotonic()
    with pytest.raises(Inconclusive, match="given up"):
        fault.prove(place, "0")
    timer.join()
    assert 0.2 < time.monotonic() - begun < 5


@pytest.mark.parametrize("hangs", [False, True])
def test_a_restore_waits_for_the_look_under_way_and_no_longer(
    connected: Run, machines: dict[str, Machine], monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    looking, answered = threading.Event(), threading.Event()
    kill = KINDS["kill"]

    def prove(_: object, place: Place, said: str) -> str:
        looking.set()
        if hangs:
            answered.wait(30)
        while True:
            place.pause(0.05)

    monkeypatch.setattr(restore, "PROOF", 1.0)
    monkeypatch.setattr(kill, "slow_to_prove", True)
    monkeypatch.setattr(kill, "prove", prove)
    connected.section = "steps"
    faults.carry_out(connected, kill(step="fault"))
    assert looking.wait(10)
    (proof,) = connected.proofs
    begun = time.monotonic()
    connected.interrupt.ask("SIGINT")
    restore.carry_out(connected, stop_started=False)
    seconds = time.monotonic() - begun
    answered.set()
    assert isinstance(proof.exception(timeout=10), Inconclusive)
    assert machines["a-1"].running
    assert connected.findings.left == []
    assert 1.0 <= seconds < 8 if hangs else seconds < 5
