"""JUnit XML as CI systems read it: by the standard library's parser, and never green for a drill that did not pass."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from drillctl.drill import Ending
from drillctl.errors import Aborted, Inconclusive, NotStarted
from drillctl.report.junit import render
from drillctl.report.model import GateResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from told import Told


P, S = "P" * 30, "S" * 33


def outcomes(text: str) -> dict[str, str]:
    """Return what a CI system makes of each case: passed, or the name of the element that says otherwise."""
    root = ET.fromstring(text.encode())
    assert root.tag == "testsuites"
    found: dict[str, str] = {}
    for suite in root.findall("testsuite"):
        cases = suite.findall("testcase")
        for tag, count in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert int(suite.get(count, "")) == len(suite.findall(f"testcase/{tag}"))
        assert int(suite.get("tests", "")) == len(cases)
        for case in cases:
            assert case.get("classname")
            kinds = [child.tag for child in case if child.tag in {"failure", "error", "skipped"}]
            found[case.get("name", "")] = kinds[0] if kinds else "passed"
    return found


def test_a_passed_drill_is_green(tell: Callable[..., Told]) -> None:
    told = tell()
    for name in ("connect", *told.run.playbook.steady_state):
        told.step(name, "", "before", 0.1, "as it must be")
    report = told.report()
    found = outcomes(render(report))
    assert set(found.values()) == {"passed"}
    names = {"verdict", *(o.name for o in report.objectives), *(g.name for g in report.gates)}
    assert names == set(found)


def test_a_missed_objective_is_a_failure_with_rule_and_measurement(tell: Callable[..., Told]) -> None:
    text = render(tell(P + "|" + "x" * 60 + S + "/SSPP").report())
    found = outcomes(text)
    assert found["recovery time"] == found["verdict"] == "failure"
    assert found["outputs"] == "passed"
    case = next(c for c in ET.fromstring(text.encode()).iter("testcase") if c.get("name") == "recovery time")
    failure = case.find("failure")
    assert failure is not None
    assert failure.get("message") == "measured 6.00 s ± 0.10 s, rule ≤ 5 s"


@pytest.mark.parametrize(
    ("ending", "letters"),
    [
        (Ending(refused=True, error=NotStarted("no")), ""),
        (Ending(aborted=True, error=Aborted("stopped")), P + "|xx/PP"),
        (Ending(error=Inconclusive("unproven")), P + "|" + S + "/PP"),
        (Ending(), ""),
    ],
    ids=["not-started", "aborted", "inconclusive", "nothing measured"],
)
def test_a_drill_that_was_not_judged_is_an_error_and_never_green(
    tell: Callable[..., Told], ending: Ending, letters: str
) -> None:
    found = outcomes(render(tell(letters).report(ending)))
    assert found["verdict"] == "error"
    assert "skipped" not in found.values()


def test_an_objective_that_was_not_measured_is_an_error(tell: Callable[..., Told]) -> None:
    found = outcomes(render(tell(P + "|" + P + "/PPP").report()))
    assert found["recovery time"] == "error"


def test_what_xml_cannot_hold_does_not_break_it(tell: Callable[..., Told]) -> None:
    report = tell().report()
    evil = report.objectives[0].model_copy(update={"name": 'a"<b>&\x00\x1b\ud800', "measured": "]]>\x08", "met": False})
    found = outcomes(render(report.model_copy(update={"objectives": [evil], "gates": []})))
    assert found == {"verdict": "passed", 'a"<b>&���': "failure"}


def gate(name: str, rule: str, found: str, passed: bool | None, overridden: str | None) -> GateResult:
    return GateResult(name=name, rule=rule, found=found, passed=passed, overridden=overridden)


def test_gates_are_cases_and_one_that_was_overridden_did_not_decide(tell: Callable[..., Told]) -> None:
    report = tell().report()
    gates = [
        gate("window", "Tue to Thu", "Wednesday", True, None),
        gate("blackout", "not on 12-31", "12-31", False, None),
        gate("interval", "24 h apart", "3 h", False, "the director of operations decided"),
        gate("health", "200 everywhere", "not asked", None, None),
    ]
    found = outcomes(render(report.model_copy(update={"gates": gates})))
    assert [found[one.name] for one in gates] == ["passed", "failure", "skipped", "error"]
