"""Putting back what a killed drillctl left, from its journal, on hosts in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from drilled import drilled

from drillctl import journal as journals
from drillctl import recover
from drillctl.errors import UsageError
from drillctl.gateway.scripted import ScriptedGateway
from drillctl.interrupt import Interrupt
from drillctl.journal import Journal

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
