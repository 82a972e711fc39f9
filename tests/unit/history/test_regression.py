"""Regressions as objectives of a playbook: read, judged against the history, and shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from drillctl import playbook as playbooks
from drillctl.errors import FileError, UsageError
from drillctl.history.record import record_of
from drillctl.history.regression import Past, Regression, from_flags, objectives, read_past
from drillctl.history.store import History

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drillctl.inventory import Inventory

RULE = "recovery_time > 1.25 * p50(last 10)"
ONE = (Regression(fail_if=RULE),)


def past(make_report: Callable[..., dict[str, Any]], *outages: float) -> Past:
    return Past(tuple(record_of(make_report(number, outage=outage)) for number, outage in enumerate(outages)))


@pytest.mark.parametrize(("outage", "met"), [(0.3, True), (0.32, False), (None, None)])
def test_a_run_is_judged_by_those_before_it(
    make_report: Callable[..., dict[str, Any]], outage: float | None, met: bool | None
) -> None:
    (objective,) = objectives(ONE, {"recovery_time": outage}, past(make_report, 0.25, 0.2, 0.3))
    assert objective.met is met
    assert objective.name == "no regression: recovery_time"
    assert objective.rule == f"fails if {RULE}"
    assert "p50(recovery_time, last 10) = 0.25 s (3 runs)" in objective.measured


def test_too_few_runs_are_not_measured_and_say_what_is_needed(make_report: Callable[..., dict[str, Any]]) -> None:
    (objective,) = objectives(ONE, {"recovery_time": 0.2}, past(make_report, 0.25, 0.2))
    assert objective.met is None
    assert objective.measured == (
        "not measured: recovery_time 0.20 s; p50(recovery_time, last 10) needs 3 comparable runs, the history has 2"
    )


def test_a_playbook_gives_a_rule_alone_or_with_its_minimum(playbook_file: Path, playbook_text: str) -> None:
    rules = f"regressions: ['{RULE}', {{fail_if: lost_requests > max(last 5), min: 5}}]"
    playbook_file.write_text(playbook_text.replace("objectives:", f"objectives:\n  {rules}", 1))
    found = playbooks.load(playbook_file).objectives.regressions
    assert [(one.fail_if, one.min) for one in found] == [(RULE, 3), ("lost_requests > max(last 5)", 5)]


@pytest.mark.parametrize(
    ("rule", "column", "said"),
    [
        ("recovery_time > p50(lst 10)", 7, "the rule `recovery_time > p50(lst 10)` cannot be read at its column 21: "),
        ("{fail_if: recovery_time > 1, min: 0}", 36, "`objectives.regressions.0.min`"),
        ("{min: 3}", 7, "`objectives.regressions.0.fail_if` is missing"),
    ],
)
def test_a_mistake_in_a_playbook_is_told_with_its_place(
    playbook_file: Path, playbook_text: str, rule: str, column: int, said: str
) -> None:
    playbook_file.write_text(playbook_text.replace("objectives:", f"objectives:\n  regressions:\n    - {rule}", 1))
    with pytest.raises(FileError) as caught:
        playbooks.load(playbook_file)
    (problem,) = caught.value.problems
    line = playbook_file.read_text().splitlines().index(f"    - {rule}") + 1
    assert problem.startswith(f"{playbook_file}:{line}:{column}: ")
    assert said in problem


def test_a_mistake_on_the_command_line_is_told_with_a_mark_below_it() -> None:
    with pytest.raises(UsageError) as caught:
        from_flags(["recovery_time > 1", "recovery_time > p50(lst 10)"])
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("--fail-if cannot be read at column 21: `last COUNT` is missing")
    assert lines[1:] == ["  recovery_time > p50(lst 10)", " " * 22 + "^"]


def test_only_comparable_runs_of_the_same_playbook_and_inventory_are_read(
    estate: Inventory, make_report: Callable[..., dict[str, Any]]
) -> None:
    with History.open() as history:
        history.add_run(make_report(0, inventory=estate.name))
        history.add_run(make_report(1, inventory=estate.name, verdict="failed"))
        history.add_run(make_report(2, inventory="another"))
        history.add_run(make_report(3, inventory=estate.name, playbook="another"))
        lacking = [{"name": "no regression: recovery_time", "rule": "", "measured": "", "met": None}]
        met = [{"name": "recovery time", "rule": "", "measured": "", "met": True}]
        missed = [{"name": "recovery time", "rule": "", "measured": "", "met": None}]
        # Without those that only lacked a history, no history would ever come about.
        history.add_run(make_report(4, inventory=estate.name, verdict="inconclusive", objectives=met + lacking))
        history.add_run(make_report(5, inventory=estate.name, verdict="inconclusive", objectives=missed + lacking))
        history.add_run(make_report(6, inventory=estate.name, verdict="inconclusive", objectives=missed))
        # One that was cut short proves nothing, though every objective was met, that of the past included.
        kept = [{**lacking[0], "met": True}]
        history.add_run(make_report(7, inventory=estate.name, verdict="inconclusive", objectives=met + kept))
        short = {"objectives": met + lacking, "reason": "the lease ended"}
        history.add_run(make_report(8, inventory=estate.name, verdict="inconclusive", **short))
    said: list[str] = []
    found = read_past(estate, "zone-failover", ONE, said.append)
    assert [run.run_id[-1] for run in found.runs] == ["4", "0"]
    assert said == []


def test_without_regressions_the_history_is_not_opened(estate: Inventory, home: Path) -> None:
    assert read_past(estate, "zone-failover", (), print) == Past()
    assert not home.exists()


def test_a_history_that_cannot_be_read_is_told_and_nothing_is_met(estate: Inventory, home: Path) -> None:
    home.mkdir()
    (home / "history.db").write_bytes(b"no database" * 1000)
    said: list[str] = []
    found = read_past(estate, "zone-failover", ONE, said.append)
    assert "this drill cannot pass" in said[0]
    limit = Regression(fail_if="recovery_time > 1")
    judged = objectives((*ONE, limit), {"recovery_time": 0.2}, found)
    assert [objective.met for objective in judged] == [None, True]
    assert judged[0].measured.startswith(f"not measured: the history {home}/history.db cannot be used")


def test_editors_are_told_that_the_rule_alone_will_do() -> None:
    alone, whole = Regression.model_json_schema()["anyOf"]
    assert alone == {"type": "string"}
    assert (whole["required"], set(whole["properties"])) == (["fail_if"], {"fail_if", "min"})
