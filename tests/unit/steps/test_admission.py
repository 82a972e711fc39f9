"""admission: every gate has its line, and one that is closed keeps the drill from speaking to any host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drillctl import drill
from drillctl.errors import NotStarted
from drillctl.gates import Gate
from drillctl.report.model import make_report
from drillctl.steps import admission

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.run import Run

OPEN = Gate("interval", "at least 20 h since the last drill", "no earlier drill is known", passed=True)
CLOSED = Gate("window", "within every day 22:00 to 04:00", "closed at 20:15", passed=False, opens="opens at 22:00")
OVERRIDDEN = Gate("blackout", "not in the blackout", "freeze", passed=False, overridden="the hall is on fire")
SILENT = Gate("agreement", "a person says yes", "not asked, since another gate is closed", passed=None)


def test_open_gates_let_a_drill_through_and_an_overridden_one_says_so(make_run: Callable[..., Run]) -> None:
    run = make_run()
    run.findings.gates = (OPEN, OVERRIDDEN)
    admission.carry_out(run)
    assert [(record.name, record.status, record.detail) for record in run.records] == [
        ("interval", "ok", "no earlier drill is known"),
        ("blackout", "ok", "freeze; OVERRIDDEN: the hall is on fire"),
    ]


def test_a_closed_gate_refuses_the_drill_after_all_were_looked_at(make_run: Callable[..., Run]) -> None:
    run = make_run()
    run.findings.gates = (CLOSED, OPEN, SILENT)
    with pytest.raises(NotStarted, match="window: closed at 20:15") as caught:
        admission.carry_out(run)
    assert caught.value.state == "nothing was changed"
    assert (caught.value.hint or "").startswith("window opens at 22:00")
    assert [(record.name, record.status) for record in run.records] == [
        ("window", "refused"),
        ("interval", "ok"),
        ("agreement", "skipped"),
    ]


def test_a_refused_drill_speaks_to_no_host_and_reports_its_gates(make_run: Callable[..., Run]) -> None:
    run = make_run()
    run.findings.gates = (CLOSED, SILENT)
    ending = drill.carry_out(run)
    assert ending.refused
    assert run.fleet is None
    assert not run.changed
    report = make_report(run, ending, "", "", 1.0)
    assert (report.verdict, report.exit_code) == ("not-started", 4)
    by_name = {gate.name: gate for gate in report.gates}
    assert by_name["window"].passed is False
    assert by_name["lease"].passed is None
    assert report.gates[0].model_dump() == {
        "name": "window",
        "rule": "within every day 22:00 to 04:00",
        "found": "closed at 20:15",
        "passed": False,
        "overridden": None,
    }


def test_an_overridden_gate_is_a_deviation(make_run: Callable[..., Run]) -> None:
    run = make_run()
    run.findings.gates = (OVERRIDDEN,)
    report = make_report(run, drill.Ending(), "", "", 1.0)
    assert report.deviations == ["blackout overridden (the hall is on fire): freeze"]
    assert report.gates[0].overridden == "the hall is on fire"
