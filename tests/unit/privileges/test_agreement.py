"""What drillctl sends is what the installed programs take: every fault, its undos, the service and the guard."""

from __future__ import annotations

import contextlib
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import pytest

from drillctl.errors import DrillctlError
from drillctl.faults import KINDS, Place
from drillctl.gateway import adoption
from drillctl.guard import gateway_orders, orders
from drillctl.guard.client import GuardClient
from drillctl.guard.guards import owner
from drillctl.guard.lease import Order
from drillctl.hosts.fleet import Fleet
from drillctl.hosts.scripted import Answer, Ran, ScriptedTransport
from drillctl.hosts.service import manager_of
from drillctl.inventory import InstalledFault
from drillctl.privileges.installed import Installed
from drillctl.privileges.program import FOLDER

if TYPE_CHECKING:
    from pathlib import Path

    from drillctl.inventory import Host, Inventory

RUN_ID = "20260101T000000Z-loss.of_zone-0a1b"
MORE = {
    "partition": [{"from": "clients"}, {"from": "drillctl"}],
    "model": [{"how": "deleted"}],
    "loss": [{"percent": 5}],
}


class Asked:
    """A host in memory that runs nothing, but whose installed programs say what they would refuse."""

    def __init__(self, inventory: Inventory, host: Host, folder: Path) -> None:
        self.refused: list[tuple[str, ...]] = []
        self.taken: list[str] = []
        self.transport = ScriptedTransport(host.name, self._answer)
        self.transport.installed = Installed(inventory, host)
        self._folder = folder
        for program in self.transport.installed.programs:
            # The gateway's checks compare with files that are not here.
            tested = replace(program, source="exit 0\n", functions="", checks="")
            (folder / program.name).write_text(tested.text)

    def _answer(self, ran: Ran) -> Answer:
        if ran.argv[:3] != ("sudo", "-n", "--"):
            return Answer(b"198.18.0.1 50000 10.0.1.11 22\n")
        name = ran.argv[3].removeprefix(f"{FOLDER}/")
        done = subprocess.run(["sh", str(self._folder / name), *ran.argv[4:]], capture_output=True, check=False)
        self.taken.append(name)
        if done.returncode != 0:
            self.refused.append(ran.argv[3:])
        return Answer(b"epoch 7\n" if "acquire" in ran.argv else b"state free\n")


def every_fault() -> list[object]:
    ways = [(fault, {}) for fault in get_args(InstalledFault)]
    ways += [(fault, more) for fault, several in MORE.items() for more in several]
    ways += [("kill", {}), ("stop", {})]
    return [pytest.param(fault, more, id=" ".join([fault, *map(str, more.values())])) for fault, more in ways]


@pytest.mark.parametrize(("fault", "more"), every_fault())
def test_a_fault_and_its_undos_are_taken(
    example: Inventory, tmp_path: Path, fault: str, more: dict[str, object]
) -> None:
    estate = example.model_copy(update={"faults": get_args(InstalledFault)})
    model = KINDS[fault].model_validate({"step": "fault", "fault": fault, **more})
    host = estate.gateway.hosts[0] if model.on_gateway else estate.zone("primary").hosts[0]
    asked = Asked(estate, host, tmp_path)
    service = None if model.on_gateway else manager_of(estate, host, asked.transport)
    place = Place(RUN_ID, estate, host, Fleet(estate, {host.name: asked.transport}), service)
    guard = GuardClient(asked.transport)
    guard.acquire(RUN_ID, owner(), 20)
    for undo in model.undos(place):
        order = orders.of_zone(estate, host, undo)
        guard.register(order)
        guard.undo_one(order.id)
        guard.strike(order.id)
    for part in (model.check, model.inject, model.still):
        with contextlib.suppress(DrillctlError, ValueError):  # there is no host that would really do it
            part(place)
    assert asked.refused == []
    assert set(asked.taken) - {"guard"}, "nothing was asked of the host"


def test_the_service_and_the_guard_are_taken(example: Inventory, tmp_path: Path) -> None:
    host = example.zone("primary").hosts[0]
    asked = Asked(example, host, tmp_path)
    service = manager_of(example, host, asked.transport)
    for work in (service.state, service.start, service.stop, service.kill, service.revive, service.last_words):
        with contextlib.suppress(DrillctlError):
            work()
    service.revive(restart=True)
    guard = GuardClient(asked.transport)
    guard.show()
    guard.acquire(RUN_ID, owner(), 3600)
    guard.renew()
    guard.undo()
    guard.break_lease(RUN_ID, forget=False)
    guard.break_lease(RUN_ID, forget=True)
    guard.release()
    assert asked.refused == []
    assert len(asked.taken) >= 14


def test_the_gateways_undos_are_taken(example: Inventory, tmp_path: Path) -> None:
    asked = Asked(example, example.gateway.hosts[0], tmp_path)
    guard = GuardClient(asked.transport)
    guard.acquire(RUN_ID, owner(), 20)
    config = example.gateway.config
    staging = f"{config.rpartition('/')[0]}/.drillctl-{RUN_ID}"
    guard.register(orders.discard({"gw-1": (staging,)})["gw-1"])
    sha = "0123456789abcdef" * 4
    words = (
        config,
        sha,
        "644",
        "0:0",
        sha,
        "nginx -s reload",
        *gateway_orders.health_urls(example, example.zone("primary")),
    )
    guard.register(Order("gateway.restore", "gateway.restore", words, b"bytes"))
    assert asked.refused == []


def test_what_adopting_keeps_is_no_runs_to_remove(example: Inventory, tmp_path: Path) -> None:
    asked = Asked(example, example.gateway.hosts[0], tmp_path)
    kept = adoption.kept_of(example.gateway.config)
    programs = [f"{FOLDER}/gateway-prepare", f"{FOLDER}/gateway-discard", f"{FOLDER}/guard"]
    for path in (kept, f"{kept}.sums"):
        words = ((example.gateway.config, path, "/run/nginx.pid"), (path, ""), ("gw-1", "register", "1", "a"))
        for program, arguments in zip(programs, words, strict=True):
            undo = ("gateway.discard", path) if program.endswith("guard") else ()
            asked.transport.run(["sudo", "-n", "--", program, *arguments, *undo])
    assert [words[0] for words in asked.refused] == programs * 2


def test_a_word_that_is_not_taken_would_be_seen(example: Inventory, tmp_path: Path) -> None:
    host = example.zone("primary").hosts[0]
    asked = Asked(example, host, tmp_path)
    moved = example.model_copy(update={"service": example.service.model_copy(update={"port": 9090})})
    with contextlib.suppress(DrillctlError):
        manager_of(moved, host, asked.transport).kill()
    assert [words[0] for words in asked.refused] == [f"{FOLDER}/service-kill"]
