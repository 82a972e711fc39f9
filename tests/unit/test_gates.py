"""The gates of the calendar: each says its rule and what it found, and a closed one says when it opens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from drillctl import gates
from drillctl.gate_plan import GatePlan
from drillctl.gates import Gate
from drillctl.last_drill import LastDrill, Unknown
from drillctl.playbook import CHECKS
from drillctl.run import StepRecord

if TYPE_CHECKING:
    from drillctl.inventory import Inventory
    from drillctl.playbook import Playbook

BOX = timedelta(minutes=15)
# A Thursday, 20:15 in Berlin.
NOW = datetime(2026, 11, 26, 19, 15, tzinfo=UTC)
NIGHT = {"opens": "22:00", "closes": "04:00"}
EVENING = {"opens": "18:00", "closes": "20:25", "days": ["thu"]}
FREEZE = {"first_day": "2026-11-26", "last_day": "2026-11-27", "reason": "Black Friday"}


def with_gates(estate: Inventory, **plan: Any) -> Inventory:
    return estate.model_copy(update={"gates": GatePlan.model_validate({"time_zone": "Europe/Berlin"} | plan)})


def only(found: tuple[Gate, ...]) -> Gate:
    (gate,) = found
    return gate


def at(
    estate: Inventory, now: datetime = NOW, last: LastDrill | Unknown | None = None, **overrides: str
) -> tuple[Gate, ...]:
    return gates.of_calendar(estate, now, BOX, last, overrides)


def test_an_inventory_without_gates_has_none(estate: Inventory) -> None:
    assert at(estate) == ()
    assert gates.refusal(()) is None


def test_a_closed_window_says_when_the_next_one_opens(estate: Inventory) -> None:
    gate = only(at(with_gates(estate, windows=[NIGHT])))
    assert gate == Gate(
        "window",
        "within every day 22:00 to 04:00 (Europe/Berlin), with 15 min to go",
        "closed at Thu 2026-11-26 20:15 UTC+0100",
        passed=False,
        opens="opens at Thu 2026-11-26 22:00 UTC+0100, in 1 h 45 min",
    )
    assert not gate.lets_through


def test_an_open_window_says_until_when(estate: Inventory) -> None:
    gate = only(at(with_gates(estate, windows=[NIGHT]), NOW + timedelta(hours=2)))
    assert (gate.passed, gate.found) == (True, "open, until Fri 2026-11-27 04:00 UTC+0100")


def test_a_window_that_closes_before_the_drill_is_surely_over_is_closed(estate: Inventory) -> None:
    gate = only(at(with_gates(estate, windows=[NIGHT, EVENING])))
    assert gate.passed is False
    assert gate.rule == ("within every day 22:00 to 04:00 or thu 18:00 to 20:25 (Europe/Berlin), with 15 min to go")
    assert gate.found == "it closes at Thu 2026-11-26 20:25 UTC+0100, in 10 min"
    assert gate.opens == "opens at Thu 2026-11-26 22:00 UTC+0100, in 1 h 45 min"
    assert only(at(with_gates(estate, windows=[NIGHT, EVENING]), NOW - timedelta(minutes=5))).passed


def test_a_blackout_says_why_and_when_both_gates_open_again(estate: Inventory) -> None:
    window, blackout = at(with_gates(estate, windows=[NIGHT], blackouts=[FREEZE]), NOW + timedelta(hours=2))
    assert window.passed is True
    assert blackout == Gate(
        "blackout",
        "not in the blackout (Europe/Berlin)",
        "2026-11-26 to 2026-11-27: Black Friday",
        passed=False,
        opens="opens at Sat 2026-11-28 00:00 UTC+0100, in 1 d 2 h",
    )
    assert gates.refusal((window, blackout)) == (
        "blackout: 2026-11-26 to 2026-11-27: Black Friday",
        "blackout opens at Sat 2026-11-28 00:00 UTC+0100, in 1 d 2 h; for a real emergency: "
        "--override-gate blackout --reason TEXT",
    )


def test_a_blackout_that_begins_before_the_drill_is_surely_over_closes_the_gate(estate: Inventory) -> None:
    frozen = with_gates(estate, blackouts=[FREEZE])
    midnight = datetime(2026, 11, 25, 23, tzinfo=UTC)  # in Berlin
    gate = only(at(frozen, midnight - timedelta(minutes=5)))
    assert gate.passed is False
    assert gate.found == "the drill may take 15 min, and so run into 2026-11-26 to 2026-11-27: Black Friday"
    assert gate.opens == "opens at Sat 2026-11-28 00:00 UTC+0100, in 2 d 1 h"
    assert only(at(frozen, midnight - BOX)).passed is True


def test_the_last_drill_must_be_long_enough_ago(estate: Inventory) -> None:
    paced = with_gates(estate, minimum_hours_between_drills=20.0)
    last = LastDrill(NOW - timedelta(hours=19, minutes=59, seconds=30), "20261125T231530Z-x-0000")
    gate = only(at(paced, last=last))
    assert gate.rule == "at least 20 h since the last drill"
    assert gate.found == "the last one, 20261125T231530Z-x-0000, began 20 h ago"
    assert gate.passed is False
    assert gate.opens == "opens at 2026-11-26 19:15 UTC, in 30 s"
    assert only(at(paced, NOW + timedelta(seconds=30), last=last)).passed is True
    assert only(at(paced)).found == "no earlier drill is known here"


def test_an_interval_that_nobody_knows_is_closed_and_can_be_overridden(estate: Inventory) -> None:
    paced = with_gates(estate, minimum_hours_between_drills=20.0)
    gate = only(at(paced, last=Unknown("the history cannot be reached"), interval="the hall is on fire"))
    assert (gate.passed, gate.found, gate.lets_through) == (False, "the history cannot be reached", True)
    assert not only(at(paced, last=Unknown("the history cannot be reached"))).lets_through


def test_a_drill_of_tomorrow_closes_the_gate_and_says_what_that_means(estate: Inventory) -> None:
    paced = with_gates(estate, minimum_hours_between_drills=1.0)
    gate = only(at(paced, last=LastDrill(NOW + timedelta(days=1), "run")))
    assert gate.passed is False
    assert "the clock was put back" in gate.found


def test_an_override_lets_through_what_is_closed_and_is_not_used_for_what_is_open(estate: Inventory) -> None:
    closed = with_gates(estate, windows=[NIGHT], blackouts=[FREEZE])
    window, blackout = at(closed, window="the standby's hall is on fire")
    assert (window.passed, window.lets_through) == (False, True)
    assert window.overridden == "the standby's hall is on fire"
    assert not blackout.lets_through
    open_ = only(at(with_gates(estate, windows=[NIGHT]), NOW + timedelta(hours=2), window="just in case"))
    assert open_.overridden == ""


def test_gates_that_open_together_are_told_together(estate: Inventory) -> None:
    found = gates.refusal(at(with_gates(estate, windows=[NIGHT], blackouts=[FREEZE])))
    assert found is not None
    assert found[1] == (
        "window and blackout open at Sat 2026-11-28 00:00 UTC+0100, in 1 d 4 h; for a real emergency: "
        "--override-gate window --override-gate blackout --reason TEXT"
    )


def test_a_refusal_names_every_closed_gate_and_leaves_out_who_was_not_asked() -> None:
    closed = Gate("window", "r", "closed", passed=False, opens="opens soon")
    silent = Gate("agreement", "r", "not asked, since another gate is closed", passed=None)
    assert gates.refusal((closed, silent)) == (
        "window: closed",
        "window opens soon; for a real emergency: --override-gate window --reason TEXT",
    )
    alone = gates.refusal((silent,))
    assert alone is not None, "who was not asked has not agreed"
    assert "agreement" in alone[0]


def test_a_window_within_an_endless_blackout_says_that_it_never_opens(estate: Inventory) -> None:
    ever = {"first_day": "2020-01-01", "last_day": "2999-12-31", "reason": "decommissioned"}
    gate = at(with_gates(estate, blackouts=[ever]))[0]
    assert "never opens" in gate.opens


def test_lease_and_steady_state_are_gates_as_far_as_they_were_reached(playbook: Playbook) -> None:
    records = [
        StepRecord("connect", "", "before", "ok", 0.0, 0.1, "3 hosts"),
        StepRecord("health", "", "before", "ok", 0.2, 0.1, "200"),
        StepRecord("role", "", "before", "refused", 0.3, 0.1, "b-1 says main"),
    ]
    found = {gate.name: gate.passed for gate in gates.of_steps(playbook, records)}
    assert found == {"lease": True, "health": True, "role": False} | {
        name: None for name in CHECKS if name not in {"health", "role"}
    }


def test_every_check_has_a_rule() -> None:
    assert set(gates.CHECK_RULES) == set(CHECKS)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (0.2, "1 s"),
        (119, "119 s"),
        (120, "2 min"),
        (121, "3 min"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (86400, "1 d"),
        (90000, "1 d 1 h"),
        (90001, "1 d 2 h"),
        (2 * 86400 - 1, "2 d"),
    ],
)
def test_durations_are_never_shorter_than_they_are(seconds: float, said: str) -> None:
    assert gates.duration(timedelta(seconds=seconds)) == said
