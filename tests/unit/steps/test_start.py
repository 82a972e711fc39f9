"""start: what runs is left alone, what does not is started after its undo is on disk, and each failure is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from drillctl import inventory as inventories
from drillctl import journal as journals
from drillctl.errors import Aborted, CommandFailed, HostError, Unreachable
from drillctl.gateway.scripted import ScriptedGateway
from drillctl.hosts.fleet import Fleet
from drillctl.hosts.scripted import Answer, Page, Ran, ScriptedTransport
from drillctl.hosts.service import manager_of
from drillctl.steps import start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Machine

    from drillctl.inventory import Inventory
    from drillctl.run import Run

CONFIG = b"upstream recognition {\n    server 10.0.1.1:8000;\n    # server 10.0.2.1:8000;\n}\n"
HEALTHY = Page(b'{"status": "healthy", "uptime_sec": 1.5}')
LOADING = Page(b'{"status": "loading", "progress": 0.3}', 503)
FAILED = Page(b'{"status": "failed", "reason": "the model file is not the pinned one"}', 503)


def primary(connected: Run) -> inventories.Host:
    return connected.inventory.zone("primary").hosts[0]


def test_what_runs_and_is_ready_is_left_alone(connected: Run, machines: dict[str, Machine]) -> None:
    start.carry_out(connected)
    assert connected.findings.started == []
    assert len(connected.outstanding) == 0
    assert not connected.changed
    assert {record.status for record in connected.records} == {"ok"}
    assert all("was running" in record.detail for record in connected.records)
    for machine in machines.values():
        assert not any(ran.argv[:2] == ("systemctl", "start") for ran in machine.transport.ran)


def test_what_does_not_run_is_started_once_its_undo_is_on_disk(connected: Run, machines: dict[str, Machine]) -> None:
    machines["b-1"].running = False
    start.carry_out(connected)
    assert connected.findings.started == ["b-1"]
    assert [(undo.kind, undo.host) for undo in connected.outstanding] == [("service.stop", "b-1")]
    intents = [json.loads(line) for line in machines["b-1"].journal_at_start.splitlines()]
    assert [record["undo"]["kind"] for record in intents if record["host"] == "b-1"] == ["service.stop"]
    assert list(journals.outstanding(connected.journal.path)) == list(connected.outstanding)


def test_it_waits_while_the_model_is_loading(connected: Run, machines: dict[str, Machine]) -> None:
    machines["a-1"].pages = [LOADING, LOADING, LOADING, HEALTHY]
    start.wait_ready(connected, primary(connected), 10)
    assert machines["a-1"].pages == [HEALTHY]


def test_a_server_that_is_just_being_started_may_refuse_connections(
    connected: Run, machines: dict[str, Machine]
) -> None:
    machines["a-1"].pages = [None, None, None, LOADING, HEALTHY]
    start.wait_ready(connected, primary(connected), 10)


def test_a_failed_server_is_told_at_once_with_its_reason(connected: Run, machines: dict[str, Machine]) -> None:
    machines["a-1"].pages = [LOADING, FAILED]
    with pytest.raises(HostError, match=r"not ready after .*the model file is not the pinned one") as caught:
        start.wait_ready(connected, primary(connected), 60)
    assert caught.value.host == "a-1"


def test_a_server_that_ended_is_told_with_the_end_of_its_log(connected: Run, machines: dict[str, Machine]) -> None:
    machines["a-1"].pages = [None]
    machines["a-1"].running = False
    with pytest.raises(HostError, match="the server ended") as caught:
        start.wait_ready(connected, primary(connected), 60)
    assert "RuntimeError: no space left / exited with 1" in caught.value.message


def test_a_server_between_two_attempts_of_its_supervisor_is_not_given_up(
    connected: Run, machines: dict[str, Machine]
) -> None:
    machines["a-1"].pages = [None, None, None, HEALTHY]
    machines["a-1"].states = [False, True, False]
    machines["a-1"].running = True
    start.wait_ready(connected, primary(connected), 10)
    assert machines["a-1"].states == []


@pytest.mark.parametrize(("waits", "said"), [
    ("ActiveState=inactive\nSubState=dead\nJob=117", r"inference.service is inactive \(dead\), with a job queued"),
    ("ActiveState=activating\nSubState=auto-restart\nJob=", r"inference.service is activating \(auto-restart\)"),
    ("ActiveState=deactivating\nSubState=stop-post", r"inference.service is deactivating \(stop-post\)"),
])  # fmt: skip
def test_a_server_that_its_supervisor_is_about_to_start_is_waited_for(
    connected: Run, machines: dict[str, Machine], waits: str, said: str
) -> None:
    """As after a boot, while the network is not up: nothing runs, for longer than two looks."""
    machine = machines["a-1"]
    machine.waits = waits
    machine.pages = [*[None] * 8, HEALTHY]
    machine.states = [False] * 8
    start.wait_ready(connected, primary(connected), 10)
    assert machine.states == []
    machine.pages, machine.running = [None], False
    with pytest.raises(HostError, match=f"not ready after .* s: {said}; its log: .*no space left"):
        start.wait_ready(connected, primary(connected), 0.5)


@pytest.mark.parametrize(
    ("page", "said"),
    [(LOADING, "its health is `loading`"), (None, "the server does not answer"), (Page(b"oops", 500), "`HTTP 500`")],
)
def test_a_server_that_is_never_ready_is_told_with_what_it_said_last(
    connected: Run, machines: dict[str, Machine], page: Page | None, said: str
) -> None:
    machines["a-1"].pages = [page]
    with pytest.raises(HostError, match="not ready after") as caught:
        start.wait_ready(connected, primary(connected), 0.5)
    assert said in caught.value.message


def test_what_an_earlier_drill_holds_down_is_not_touched(connected: Run, machines: dict[str, Machine]) -> None:
    machines["a-1"].held = True
    with pytest.raises(HostError, match="an earlier drill still keeps") as caught:
        start.carry_out(connected)
    assert "drillctl recover" in (caught.value.hint or "")
    assert not any(ran.argv[:2] == ("systemctl", "start") for ran in machines["a-1"].transport.ran)


def test_a_host_that_is_lost_meanwhile_is_told(connected: Run, machines: dict[str, Machine]) -> None:
    machines["a-1"].pages = [None]
    machines["a-1"].transport.fail = Unreachable("the connection was lost while a command ran", host="a-1")
    with pytest.raises(Unreachable, match="the connection was lost"):
        start.carry_out(connected)


def test_a_stop_is_heard_while_it_waits(connected: Run, machines: dict[str, Machine]) -> None:
    machines["a-1"].pages = [LOADING]
    connected.interrupt.ask("SIGINT")
    with pytest.raises(Aborted, match="stopped by SIGINT"):
        start.wait_ready(connected, primary(connected), 60)


def test_no_error_and_no_record_of_a_start_holds_a_value_of_its_environment(
    make_run: Callable[..., Run], tmp_path: Path, process_text: str
) -> None:
    """The host says what it likes in its complaint, but drillctl itself adds no value to it."""
    file = tmp_path / "process.yaml"
    file.write_text(process_text)
    estate: Inventory = inventories.load(file)
    made = make_run(inventory=estate)

    def reply(ran: Ran) -> Answer:
        if "setsid" in ran.argv[2]:
            assert b"API_TOKEN=s3cret\n" in ran.stdin
            return Answer(exit_code=1, stderr=b"the process ended at once\n")
        return Answer(b"Pids=\n")

    hosts = {host.name: ScriptedTransport(host.name, reply) for host in estate.hosts}
    made.fleet = Fleet(estate, hosts)
    made.gateway = ScriptedGateway(estate, CONFIG)
    for host in made.zone_hosts():
        made.services[host.name] = manager_of(estate, host, made.fleet[host])
    with pytest.raises(CommandFailed, match="starting the service ended with exit code 1: the process ended") as caught:
        start.carry_out(made)
    assert "s3cret" not in f"{caught.value!r} {caught.value} {caught.value.hint}"
    assert "s3cret" not in made.journal.path.read_text()
    assert not any("s3cret" in record.detail for record in made.records)
    assert not any("s3cret" in " ".join(ran.argv) for host in hosts.values() for ran in host.ran)
