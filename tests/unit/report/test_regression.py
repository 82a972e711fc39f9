"""A rule over the history is an objective like any other: it decides over the verdict, and the report shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drillctl import playbook as playbooks
from drillctl.history.record import record_of
from drillctl.history.regression import Past

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Told

    from drillctl.history.record import RunRecord

RULE = "recovery_time > 1.25 * p50(last 10)"


@pytest.fixture
def told(tell: Callable[..., Told]) -> Told:
    """A drill that met every other objective, with the rule."""
    told = tell()
    told.run.playbook = playbooks.with_regressions(told.run.playbook, [RULE])
    return told


def before(outage: float) -> Past:
    """Three runs before this one."""
    report = {
        "inventory": "shop",
        "playbook": "loss-of-zone",
        "verdict": "passed",
        "started_at": "2026-01-01T00:00:00Z",
        "finished_at": "2026-01-01T00:00:22Z",
        "recovery": {"outage_seconds": outage},
    }
    runs: list[RunRecord] = [record_of({**report, "run_id": str(number)}) for number in range(3)]
    return Past(tuple(runs))


def test_without_a_history_the_drill_is_inconclusive_and_may_be_compared_with_nevertheless(told: Told) -> None:
    report = told.report()
    assert (report.verdict, report.objectives[-1].met) == ("inconclusive", None)
    assert record_of(report.model_dump(mode="json")).comparable


@pytest.mark.parametrize(("outage", "verdict"), [(0.7, "passed"), (0.2, "failed")])
def test_it_decides_over_the_verdict_and_shows_rule_and_measurement(told: Told, outage: float, verdict: str) -> None:
    told.run.findings.past = before(outage)
    report = told.report()
    assert report.verdict == verdict
    objective = report.objectives[-1]
    assert (objective.name, objective.rule) == ("no regression: recovery_time", f"fails if {RULE}")
    assert objective.measured == (f"recovery_time 0.70 s; p50(recovery_time, last 10) = {outage:.2f} s (3 runs)")
    kept = record_of(report.model_dump(mode="json"))
    assert kept.comparable is (verdict == "passed")
    # What was judged is what the history keeps of this run.
    assert kept.recovery_time == pytest.approx(0.7)
    assert kept.lost_requests == 7


def test_a_drill_that_was_stopped_is_not_compared(tell: Callable[..., Told]) -> None:
    from drillctl.drill import Ending
    from drillctl.errors import Aborted

    told = tell()
    told.run.playbook = playbooks.with_regressions(told.run.playbook, [RULE])
    told.run.findings.past = before(0.1)
    report = told.report(Ending(aborted=True, error=Aborted("Ctrl-C")))
    assert (report.verdict, report.objectives) == ("aborted", [])
    assert not record_of(report.model_dump(mode="json")).comparable
