"""The report as JUnit XML, so that a CI system counts each objective and gate as a test.

A missed objective is a failure. One that was not measured is an *error*, not a skipped test: CI systems show skipped
tests green, and a drill that measured nothing must not look like one that passed. The case `verdict` fails or errs
whenever the exit code is not 0, so that no report without objectives (refused, aborted) is green either.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from drillctl.report.gates import gates_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drillctl.report.gates import ShownGate
    from drillctl.report.model import Report

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(report: Report) -> str:
    """Return the document: a suite for the verdict, one for the objectives and one for the gates if there are any."""
    document = JUnitXml(_clean(f"{report.playbook} on {report.inventory}"))
    about = f"{report.meaning}{f': {report.reason}' if report.reason else ''}"
    verdict = _case(report, "verdict", "verdict", "passed", report.verdict, _outcome(report), about)
    verdict.time = report.seconds
    document.add_testsuite(_suite(report, "verdict", [verdict]))
    objectives = [
        _case(report, "objective", o.name, o.rule, o.measured, o.met, f"measured {o.measured}, rule {o.rule}")
        for o in report.objectives
    ]
    if objectives:
        document.add_testsuite(_suite(report, "objectives", objectives))
    gates = [_gate(report, gate) for gate in gates_of(report)]
    if gates:
        document.add_testsuite(_suite(report, "gates", gates))
    stream = io.BytesIO()
    document.write(stream, pretty=True)
    return stream.getvalue().decode("utf-8")


def _gate(report: Report, gate: ShownGate) -> TestCase:
    """Return a gate's case; one that a person overrode is skipped, with the reason: it did not decide."""
    message = f"found {gate.found}, rule {gate.rule}"
    case = _case(report, "gate", gate.name, gate.rule, gate.found, gate.passed, message)
    if gate.overridden:
        case.result = [Skipped(_clean(f"overridden: {gate.overridden}"))]
    return case


def _outcome(report: Report) -> bool | None:
    """Return whether the drill passed; None: it was not judged."""
    if report.exit_code == 0:
        return True
    return False if report.verdict in {"failed", "restore-incomplete"} else None


def _case(report: Report, kind: str, name: str, rule: str, found: str, met: bool | None, message: str) -> TestCase:
    case = TestCase(_clean(name), classname=_clean(f"drillctl.{report.playbook}.{kind}"))
    if met is False:
        case.result = [Failure(_clean(message), "missed")]
    elif met is None:
        case.result = [Error(_clean(message), "not measured")]
    case.system_out = _clean(f"rule: {rule}\nfound: {found}")
    return case


def _suite(report: Report, name: str, cases: Iterable[TestCase]) -> TestSuite:
    suite = TestSuite(_clean(f"{report.playbook}: {name}"))
    suite.timestamp = report.started_at.removesuffix("Z")
    suite.hostname = _clean(report.inventory)
    suite.add_property("run", report.run_id)
    suite.add_property("drillctl", report.drillctl_version)
    for case in cases:
        suite.add_testcase(case)
    return suite


def _clean(text: str) -> str:
    """Return a text without the characters that XML cannot hold at all."""
    return _NOT_XML.sub("\ufffd", text)
