"""What is left to do after a drill, the most urgent first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from told import Told


def test_a_drill_that_went_well_leaves_nothing(tell: Callable[..., Told]) -> None:
    assert tell().report().follow_ups == []


def test_what_was_not_put_back_comes_first(tell: Callable[..., Told]) -> None:
    told = tell("P" * 30 + "|" + "x" * 60 + "S" * 33 + "/SSPP")
    told.run.findings.left.append("heal: a-1: not ready")
    told.run.findings.started.append("b-1")
    found = told.report().follow_ups
    assert found[0] == (
        "Put back by hand, or by `drillctl recover 20260101T000000Z-loss-of-zone-0000`: heal: a-1: not ready"
    )
    assert found[1] == "Objective missed: recovery time was 6.00 s ± 0.10 s, the rule is ≤ 5 s."
    assert found[-1].endswith("b-1: the server was not running; the drill started it")


def test_a_clock_that_is_off_is_one_and_an_error_bar_is_none(tell: Callable[..., Told]) -> None:
    told = tell()
    told.run.findings.machines = {
        "a-1": Machine("a-1", clock_offset=-3.0, clock_error=0.01),
        "b-1": Machine("b-1", clock_offset=1.4, clock_error=0.6),
    }
    assert told.report().follow_ups == ["Set the clock of a-1: it is -3.0 s from the controller's."]
