"""Stop conditions over the clients' requests: what is meant to fail does not stop a drill, all else does."""

from __future__ import annotations

from typing import Any

import pytest

from drillctl.stop import Requests, StopPlan, in_words
from drillctl.traffic.probe import Probe

RATE = 20.0
START = 1000.0


def probes(letters: str, since: float = START, latency: float = 0.02) -> list[Probe]:
    """Return requests by letters: `P` good, `x` a 502, `s` good after 0.9 s, `c` one that could not be sent."""
    made = []
    for seq, letter in enumerate(letters):
        due = since + seq / RATE
        took = 0.9 if letter == "s" else latency
        status = {"x": 502, "c": None}.get(letter, 200)
        error = "client:EMFILE" if letter == "c" else None
        made.append(
            Probe(seq, "fresh", "i.jpg", due, due, due + took, status, error, "zone-a", "a-1", None, missed=False)
        )
    return made


def judged(letters: str, *, broken: float | None = None, mended: float | None = None, **plan: Any) -> str | None:
    """Return which condition is fulfilled after the last of the requests has ended."""
    requests = Requests(StopPlan(**plan), RATE)
    made = probes(letters)
    requests.feed(made, broken, mended)
    return requests.exceeded(max(probe.done for probe in made), START)


def test_a_good_service_fulfils_none() -> None:
    assert judged("P" * 200, failed_requests=0, outage_seconds=0.5, error_rate=0.0, p99_seconds=0.5) is None


@pytest.mark.parametrize(("failed", "stops"), [(3, False), (4, True)])
def test_more_failed_requests_than_allowed(failed: int, stops: bool) -> None:
    found = judged("P" * 50 + "x" * failed + "P" * 50, broken=START + 2, failed_requests=3)
    assert found == ("4 failed requests, 3 are allowed" if stops else None)


def test_one_failed_request_when_none_is_allowed() -> None:
    assert judged("PxP", failed_requests=0) == "1 failed requests, 0 are allowed"


@pytest.mark.parametrize(("silent", "stops"), [(1.9, False), (2.1, True)])
def test_an_outage_is_the_time_since_the_last_good_answer(silent: float, stops: bool) -> None:
    requests = Requests(StopPlan(outage_seconds=2.0), RATE)
    made = probes("P" * 20 + "x" * 200)
    requests.feed(made, START + 1, None)
    last_good = max(probe.done for probe in made if probe.ok)
    found = requests.exceeded(last_good + silent, START)
    assert found == ("an outage of 2.1 s, 2 s are allowed" if stops else None)


def test_an_outage_counts_from_the_beginning_when_nobody_was_ever_answered() -> None:
    requests = Requests(StopPlan(outage_seconds=2.0), RATE)
    assert requests.exceeded(START + 1.9, START) is None
    assert requests.exceeded(START + 2.1, START) == "an outage of 2.1 s, 2 s are allowed"


def test_failures_of_the_expected_outage_are_no_error_rate() -> None:
    fault, switched = START + 2, START + 3.5
    letters = "P" * 40 + "x" * 40 + "P" * 100
    assert judged(letters, broken=fault, mended=switched, error_rate=0.05) is None
    # The same failures in a run that has not broken anything yet.
    assert judged("P" * 40 + "x" * 40, error_rate=0.05) is not None


def test_failures_after_the_switch_are_an_error_rate_once_the_old_workers_are_gone() -> None:
    fault, switched = START + 2, START + 2.5
    settled = 50 + int(RATE) + 1
    early = "P" * 40 + "x" * (settled - 40) + "P" * 100
    assert judged(early, broken=fault, mended=switched, error_rate=0.1) is None
    late = "P" * 40 + "x" * 10 + "P" * (settled - 50) + "P" * 50 + "x" * 30
    found = judged(late, broken=fault, mended=switched, error_rate=0.1)
    assert found == "30 of 80 requests of the last 5 s failed outside of the expected outage, 10% are allowed"


def test_a_request_in_flight_when_the_fault_struck_belongs_to_the_fault() -> None:
    requests = Requests(StopPlan(error_rate=0.0, window_seconds=1.0), RATE)
    made = probes("P" * 19) + [p for p in probes("x" * 20, latency=2.0) if p.scheduled >= START + 0.9]
    requests.feed(made, START + 1.0, None)
    assert requests.exceeded(START + 1.0, START) is None


def test_a_few_requests_are_no_rate() -> None:
    assert judged("x", error_rate=0.1) is None
    assert judged("x" * 49, error_rate=0.1) is None
    assert judged("x" * 50, error_rate=0.1) is not None


def test_old_failures_leave_the_window() -> None:
    assert judged("x" * 60 + "P" * 100, error_rate=0.1) is None


@pytest.mark.parametrize(("slow", "stops"), [(1, False), (2, True)])
def test_latency_is_judged_by_its_99th_percentile(slow: int, stops: bool) -> None:
    # Of the 183 that ended within the window, one is less than a hundredth, and two are more.
    found = judged("P" * (200 - slow) + "s" * slow, p99_seconds=0.5, window_seconds=10.0)
    wanted = "a p99 of 0.90 s over the last 10 s outside of the expected outage, 0.5 s are allowed"
    assert found == (wanted if stops else None)


def test_a_request_that_failed_was_not_answered_in_time() -> None:
    found = judged("P" * 60 + "x" * 10, p99_seconds=1.0)
    assert found == "a p99 of no answer over the last 5 s outside of the expected outage, 1 s are allowed"


def test_what_this_machine_could_not_send_is_no_failure_of_the_service() -> None:
    assert judged("P" * 60 + "c" * 60, failed_requests=0, error_rate=0.0) is None


def test_every_condition_is_told_in_words() -> None:
    told = in_words(
        StopPlan(time_box_seconds=300.0, outage_seconds=60.0, failed_requests=10, error_rate=0.1, p99_seconds=1.5)
    )
    assert told == (
        "it takes longer than 300 s up to the restore",
        "clients get no good answer for more than 60 s",
        "more than 10 requests fail",
        "more than 10% of the requests fail, over 5 s outside of the expected outage",
        "the p99 of the answers is above 1.5 s, over 5 s outside of the expected outage",
        "a server of the standby is not healthy 3 times in a row",
        "contact with a guard is lost",
    )
    assert len(in_words(StopPlan())) == 3
