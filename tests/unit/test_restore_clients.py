"""Putting things back while there are clients: when they are sent back, and that they are not needed for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from drilled import drilled

from drillctl import restore
from drillctl.errors import Inconclusive
from drillctl.gateway.scripted import ScriptedGateway
from drillctl.language import FailbackStep, HealStep
from drillctl.steps import golden, heal
from drillctl.traffic.probe import Probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.run import Run


@pytest.fixture
def gateway(connected: Run) -> ScriptedGateway:
    assert isinstance(connected.gateway, ScriptedGateway)
    return connected.gateway


class Clients:
    """Clients of a busy standby: for `failing` seconds from now requests fail, half of them if any is `served`."""

    def __init__(self, failing: float, *, served: bool = True) -> None:
        self.calm_at = time.monotonic() + failing
        self.served = served
        self.record_fault = None
        self.dead = False

    def probes(self, since: float = float("-inf")) -> list[Probe]:
        """One good and one bad request each 10 ms of the last second."""
        now = time.monotonic()
        moments = [now - number / 100 for number in range(100) if now - number / 100 >= since]
        bad = [probe(at, 503) for at in moments if at < self.calm_at]
        return bad + [probe(at, 200) for at in moments if self.served]

    def wait_for(self, predicate: Callable[[list[Probe]], bool], timeout: float, since: float) -> bool:
        return True

    def stop(self) -> list[Probe]:
        return []

    def close(self) -> None:
        pass


def probe(at: float, status: int) -> Probe:
    return Probe(1, "fresh", "a.jpg", at, at, at, status, None, "zone-b", "b-1", None, missed=False)


@pytest.mark.parametrize(
    ("clients", "stopped", "least", "most"),
    [
        ((0.0, True), False, 0.0, 0.3),
        ((0.4, True), False, 1.3, 1.9),
        ((60.0, True), False, 2.0, 2.5),
        ((60.0, False), False, 0.0, 0.3),
        ((60.0, True), True, 0.0, 0.3),
    ],
    ids=["calm", "calm soon", "never calm", "nobody served", "asked to stop"],
)
def test_clients_are_sent_back_when_their_requests_have_stopped_failing(
    connected: Run,
    gateway: ScriptedGateway,
    monkeypatch: pytest.MonkeyPatch,
    clients: tuple[float, bool],
    stopped: bool,
    least: float,
    most: float,
) -> None:
    monkeypatch.setattr(restore, "PATIENCE", 2.0)
    run = drilled(connected)
    heal.carry_out(run, HealStep(step="heal"))
    if stopped:
        run.interrupt.restoring()
        run.interrupt.ask("SIGINT")
    failing, served = clients
    run.traffic = Clients(failing, served=served)  # type: ignore[assignment]
    if failing == 0:
        run.traffic.calm_at -= restore.CALM  # type: ignore[union-attr]
    begun = time.monotonic()
    restore._failback(run, FailbackStep(step="failback", within_seconds=5))
    assert least <= time.monotonic() - begun < most
    assert gateway.read().configured_zone == "zone-a"


class DeadClients(Clients):
    """Clients whose process was killed, as for want of memory."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.dead = True

    def wait_for(self, predicate: Callable[[list[Probe]], bool], timeout: float, since: float) -> bool:
        raise Inconclusive("the prober ended by itself with exit code -9")

    def stop(self) -> list[Probe]:
        raise Inconclusive("the prober ended by itself with exit code -9")


def test_clients_that_died_do_not_keep_what_was_put_back_from_being_called_so(
    connected: Run, gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = drilled(connected)
    run.traffic = DeadClients()  # type: ignore[assignment]
    asked: list[tuple[str, int | None]] = []

    def through_gateway(_: Run, zone: str, most: int | None = None) -> dict[str, bytes]:
        asked.append((zone, most))
        return {}

    monkeypatch.setattr(golden, "through_gateway", through_gateway)
    restore.carry_out(run, stop_started=False)
    assert (run.findings.left, len(run.outstanding)) == ([], 0)
    assert gateway.read().configured_zone == "zone-a"
    assert asked == [("zone-a", 1)], "one question of its own"
    (failback,) = [record for record in run.records if record.name == "failback"]
    assert failback.detail == "zone-a answers a request of drillctl's own; the config has its original bytes"
    assert run.findings.not_proven == [
        "what clients saw to the end: the prober ended by itself with exit code -9",
    ]
    assert run.findings.cut_short_at is not None


def test_a_primary_that_does_not_answer_in_place_of_dead_clients_is_told(
    connected: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = drilled(connected)
    run.traffic = DeadClients()  # type: ignore[assignment]

    def through_gateway(*_: object, **__: object) -> dict[str, bytes]:
        raise Inconclusive("red.jpg was answered by zone-b, not by zone-a")

    monkeypatch.setattr(golden, "through_gateway", through_gateway)
    restore.carry_out(run, stop_started=False)
    assert run.findings.left == ["failback: red.jpg was answered by zone-b, not by zone-a"]
    assert [undo.kind for undo in run.outstanding] == ["gateway.restore"]
