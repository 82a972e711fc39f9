"""The verdict, over every combination of what can have happened."""

from __future__ import annotations

import itertools

import pytest

from drillctl.verdict import EXIT_CODES, MEANING, Objective, Verdict, judge, meaning

MET = Objective("recovery time", "≤ 5 s", "1 s", met=True)
MISSED = Objective("lost requests", "≤ 5", "7", met=False)
UNMEASURED = Objective("outputs", "equal", "not compared", met=None)

FLAGS = ("changed", "restored", "aborted", "refused", "broke")
EVERYTHING = [
    (objectives, dict(zip(FLAGS, flags, strict=True)))
    for objectives in ((), (MET,), (MET, MISSED), (MET, UNMEASURED), (MISSED, UNMEASURED), (MET, MET))
    for flags in itertools.product((False, True), repeat=len(FLAGS))
]


def expected(objectives: tuple[Objective, ...], flags: dict[str, bool]) -> Verdict:
    """The order of DESIGN, written as a chain of what outranks what."""
    ranked: list[tuple[bool, Verdict]] = [
        (flags["changed"] and not flags["restored"], "restore-incomplete"),
        (flags["aborted"], "aborted"),
        (flags["refused"], "not-started"),
        (MISSED in objectives, "failed"),
        (flags["broke"] or UNMEASURED in objectives or not objectives, "inconclusive"),
    ]
    return next((verdict for holds, verdict in ranked if holds), "passed")


@pytest.mark.parametrize(("objectives", "flags"), EVERYTHING)
def test_every_combination_has_its_verdict(objectives: tuple[Objective, ...], flags: dict[str, bool]) -> None:
    assert judge(objectives, **flags) == expected(objectives, flags)


def test_what_was_left_outranks_all() -> None:
    for objectives, flags in EVERYTHING:
        if flags["changed"] and not flags["restored"]:
            assert EXIT_CODES[judge(objectives, **flags)] == 6


def test_a_drill_that_did_not_come_to_its_end_never_exits_0() -> None:
    for objectives, flags in EVERYTHING:
        if flags["aborted"] or flags["refused"] or flags["broke"]:
            assert EXIT_CODES[judge(objectives, **flags)] != 0


def test_only_a_drill_that_measured_every_objective_and_met_it_passes() -> None:
    passing = [objectives for objectives, flags in EVERYTHING if judge(objectives, **flags) == "passed"]
    assert passing
    assert all(objectives and all(objective.met is True for objective in objectives) for objectives in passing)


def test_every_verdict_has_an_exit_code_of_its_own_and_a_meaning() -> None:
    assert EXIT_CODES == {
        "passed": 0,
        "failed": 1,
        "inconclusive": 3,
        "not-started": 4,
        "aborted": 5,
        "restore-incomplete": 6,
    }
    assert set(MEANING) == set(EXIT_CODES)


@pytest.mark.parametrize("verdict", ["passed", "failed", "inconclusive"])
def test_a_switch_that_stays_is_not_said_to_be_put_back(verdict: Verdict) -> None:
    assert "put back" in MEANING[verdict] == meaning(verdict)
    assert meaning(verdict, "zone-b").endswith("; the gateway stays on zone-b")
    assert "put back" not in meaning(verdict, "zone-b")


@pytest.mark.parametrize("verdict", ["not-started", "aborted", "restore-incomplete"])
def test_a_switch_that_did_not_come_to_its_end_means_what_it_always_does(verdict: Verdict) -> None:
    assert meaning(verdict, "zone-b") == MEANING[verdict]
