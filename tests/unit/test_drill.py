"""How a drill ends: what fails while it is being stopped is not why it stops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drillctl import drill
from drillctl import journal as journals
from drillctl.gates import Gate
from drillctl.report.model import make_report

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.run import Run, StepRecord

CLOSED = Gate("window", "within every day 22:00 to 04:00", "closed at 20:15", passed=False, opens="opens at 22:00")


class Impatient:
    """A watcher that asks the run to stop as soon as a step begins."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def begun(self, name: str, host: str) -> None:
        self._run.interrupt.ask("SIGINT")

    def ended(self, record: StepRecord) -> None:
        pass

    def note(self, text: str) -> None:
        pass


def test_a_step_that_fails_after_a_request_to_stop_makes_it_aborted(make_run: Callable[..., Run]) -> None:
    run = make_run()
    run.findings.gates = (CLOSED,)
    run.watcher = Impatient(run)
    ending = drill.carry_out(run)
    report = make_report(run, ending, "", "", 1.0)
    assert (report.verdict, report.exit_code) == ("aborted", 5)
    assert report.reason == "stopped by SIGINT; meanwhile: window: closed at 20:15"


def test_a_gate_that_refuses_is_not_called_stopped(make_run: Callable[..., Run]) -> None:
    run = make_run()
    run.findings.gates = (CLOSED,)
    report = make_report(run, drill.carry_out(run), "", "", 1.0)
    assert (report.verdict, report.reason) == ("not-started", "window: closed at 20:15")


def test_a_bug_in_the_middle_of_a_switch_does_not_let_it_stay(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    run.keep = True
    called: list[str] = []

    def bug(_: Run) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(drill, "_gates", bug)
    monkeypatch.setattr(drill.restore, "keep", lambda _: called.append("keep"))
    monkeypatch.setattr(drill.restore, "carry_out", lambda _, **__: called.append("put back"))
    with pytest.raises(ZeroDivisionError):
        drill.carry_out(run)
    assert called == ["put back"]


def test_the_journal_does_not_call_a_restore_whole_that_broke_off(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()

    def bug(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(drill, "_gates", lambda _: None)
    monkeypatch.setattr(drill, "_step", lambda *_: None)
    monkeypatch.setattr(drill.restore, "carry_out", bug)
    with pytest.raises(ZeroDivisionError):
        drill.carry_out(run)
    (restored,) = [record for record in journals.read(run.journal.path) if record["event"] == "restored"]
    assert restored["left"] == ["the restore broke off: a bug in drillctl, ZeroDivisionError: a bug"]


class Gone:
    """Guards that found, while things were restored, that the lease of a host was not this run's any more."""

    ended = frozenset({"gateway"})


def test_a_drill_whose_lease_ended_before_it_did_proves_nothing(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    monkeypatch.setattr(drill, "_gates", lambda _: None)
    monkeypatch.setattr(drill, "_step", lambda *_: None)
    monkeypatch.setattr(drill, "_put_back", lambda *_, **__: None)
    assert drill.carry_out(run).error is None
    run.guards = Gone()  # type: ignore[assignment]
    report = make_report(run, drill.carry_out(run), "", "", 1.0)
    assert (report.verdict, report.exit_code) == ("inconclusive", 3)
    assert report.reason is not None
    assert report.reason.startswith("the lease on gateway ended before the drill did")
