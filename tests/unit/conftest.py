"""An estate of two zones: its inventory and a playbook as people write them, runs made from both, hosts in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from drillctl import inventory as inventories
from drillctl import playbook as playbooks
from drillctl.gateway.scripted import ScriptedGateway
from drillctl.hosts import systemd
from drillctl.hosts.fleet import Fleet
from drillctl.hosts.scripted import Answer, Page, Ran, ScriptedTransport
from drillctl.hosts.service import manager_of
from drillctl.interrupt import Interrupt
from drillctl.journal import Journal
from drillctl.run import Run, StepRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from drillctl.inventory import Inventory
    from drillctl.playbook import Playbook

# How long one example takes is the machine's business.
settings.register_profile("drillctl", deadline=None)
settings.load_profile("drillctl")

INVENTORY = """\
name: shop
environment: staging
zones:
  - name: zone-a
    role: primary
    failure_domain: hall 1
    hosts:
      - name: a-1
        address: 10.0.1.1
  - name: zone-b
    role: standby
    failure_domain: hall 2
    hosts:
      - name: b-1
        address: 10.0.2.1
service:
  port: 8000
  model:
    path: /srv/model/model.safetensors
    sha256: 5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
  start:
    kind: systemd
    unit: inference.service
gateway:
  hosts:
    - name: gateway
      address: 10.0.0.1
  url: http://10.0.0.1
  config: /etc/nginx/conf.d/recognition.conf
  upstream: recognition
ssh:
  user: drill
"""

PROCESS = """\
  start:
    kind: process
    command: [-m, inference, serve]
    interpreter: /opt/conda/bin/python
    working_folder: /srv/app
    pidfile: /run/inference.pid
    environment:
      API_TOKEN: s3cret
"""

PLAYBOOK = """\
name: loss-of-zone
description: Kill the primary and switch to the standby.
objectives:
  rto_seconds: 5
  lost_requests: 20
traffic:
  rate: 10
  images: images
  observation_seconds: 2
steps:
  - step: fault
  - step: detect
  - step: switch
  - step: verify
restore:
  - step: heal
  - step: failback
  - step: verify
    zone: primary
"""


class Notes:
    """A watcher that keeps what it hears."""

    def __init__(self) -> None:
        self.begins: list[tuple[str, str]] = []
        self.records: list[StepRecord] = []
        self.notes: list[str] = []

    def begun(self, name: str, host: str) -> None:
        self.begins.append((name, host))

    def ended(self, record: StepRecord) -> None:
        self.records.append(record)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def inventory_text() -> str:
    return INVENTORY


@pytest.fixture
def process_text() -> str:
    """Return the same estate with the service as a process."""
    old = INVENTORY[INVENTORY.index("  start:") : INVENTORY.index("gateway:")]
    return INVENTORY.replace(old, PROCESS)


@pytest.fixture
def playbook_text() -> str:
    return PLAYBOOK


@pytest.fixture
def inventory_file(tmp_path: Path, inventory_text: str) -> Path:
    file = tmp_path / "inventory.yaml"
    file.write_text(inventory_text, encoding="utf-8")
    return file


@pytest.fixture
def playbook_file(tmp_path: Path, playbook_text: str) -> Path:
    """Return a playbook with two images beside it, whose bytes nobody looks at."""
    images = tmp_path / "images"
    images.mkdir()
    for name in ("red.jpg", "blue.png"):
        (images / name).write_bytes(name.encode())
    file = tmp_path / "playbook.yaml"
    file.write_text(playbook_text, encoding="utf-8")
    return file


@pytest.fixture
def estate(inventory_file: Path) -> Inventory:
    return inventories.load(inventory_file)


@pytest.fixture
def playbook(playbook_file: Path) -> Playbook:
    return playbooks.load(playbook_file)


@pytest.fixture
def make_run(tmp_path: Path, estate: Inventory, playbook: Playbook) -> Iterator[Callable[..., Run]]:
    """Return a function that makes a run with a journal on disk, told to a watcher that keeps what it hears."""
    journals: list[Journal] = []

    def make(*, inventory: Inventory = estate, book: Playbook = playbook) -> Run:
        folder = tmp_path / f"run-{len(journals)}"
        folder.mkdir()
        journal = Journal(folder / "journal.jsonl")
        journals.append(journal)
        return Run(
            run_id="20260101T000000Z-loss-of-zone-0000",
            folder=folder,
            inventory=inventory,
            playbook=book,
            journal=journal,
            interrupt=Interrupt(),
            watcher=Notes(),
        )

    yield make
    for journal in journals:
        journal.close()


CONFIG = b"upstream recognition {\n    server 10.0.1.1:8000;\n    # server 10.0.2.1:8000;\n}\n"


class Machine:
    """A zone host in memory, with a systemd unit whose server's health is what `pages` says next; the last one stays.

    None: it does not answer. `states` overrides, once each, whether the unit is seen to run; `waits` is what systemd
    says of one that does not run, but is to be started.
    """

    def __init__(self, name: str) -> None:
        self.running = self.serving = True
        self.held = False
        self.broken = False
        self.states: list[bool] = []
        self.waits = ""
        self.pages: list[Page | None] = [Page(b'{"status": "healthy", "uptime_sec": 1.5}')]
        self.journal: Path | None = None
        self.journal_at_start = b""
        self.transport = ScriptedTransport(name, self.reply)

    def reply(self, ran: Ran) -> Answer:
        if ran.argv[0] == "journalctl":
            return Answer(b"loading the model\nRuntimeError: no space left\nexited with 1\n")
        if ran.argv[:2] == ("systemctl", "start"):
            self.running = self.serving = not self.broken
            self.journal_at_start = self.journal.read_bytes() if self.journal else b""
            return Answer()
        if ran.argv[:2] == ("systemctl", "stop"):
            self.running = self.serving = False
            return Answer()
        assert ran.argv[:2] == ("sh", "-c")
        if ran.argv[2] == systemd.KILL:
            was = self.running
            self.running, self.serving, self.held = False, False, True
            return Answer(f"killed={'41 42' if was else ''} remaining= open=0\n".encode())
        if ran.argv[2] == systemd.REVIVE:
            self.running = self.serving = not self.broken
            self.held = False
            return Answer()
        assert ran.argv[2] == systemd.STATE
        self.running = self.states.pop(0) if self.states else self.running
        said = (
            "ActiveState=active\nSubState=x" if self.running else self.waits or "ActiveState=inactive\nSubState=x\nJob="
        )
        state = f"LoadState=loaded\n{said}\n"
        pids = "41 42" if self.running else ""
        return Answer(f"{state}Pids={pids}\nHeld={'yes' if self.held else 'no'}\n".encode())

    def page(self) -> Page | None:
        page = self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]
        return page if self.serving else None


@pytest.fixture
def machines() -> dict[str, Machine]:
    """The hosts of both zones, by name."""
    return {"a-1": Machine("a-1"), "b-1": Machine("b-1")}


@pytest.fixture
def connected(make_run: Callable[..., Run], machines: dict[str, Machine]) -> Run:
    """A run that is connected to the hosts in memory; servers are asked from the gateway, as in a drill."""
    run = make_run()
    connect(run, machines)
    return run


def connect(run: Run, machines: dict[str, Machine]) -> None:
    """Do what the step of that name does."""
    at = {f"{host.address}:8000": machines[host.name] for host in run.zone_hosts()}
    gateway = ScriptedTransport("gateway", {}, server=lambda address, path, body: at[address].page())
    transports = {name: machine.transport for name, machine in machines.items()}
    run.fleet = Fleet(run.inventory, {"gateway": gateway, **transports})
    run.gateway = run.gateway or ScriptedGateway(run.inventory, CONFIG)
    for host in run.zone_hosts():
        run.services[host.name] = manager_of(run.inventory, host, run.fleet[host])
    for machine in machines.values():
        machine.journal = run.journal.path
