"""Detecting a lost zone from requests alone (see conftest.py for the letters)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drillctl.traffic.detection import Detector, Rule, detected
from drillctl.traffic.probe import Overdue

ALWAYS = float("-inf")


def by_completion(found):
    return sorted(found.probes, key=lambda probe: probe.done)


def test_fires_at_the_completion_of_the_nth_failure_in_a_row(series):
    found = series("PPPPxxrxx")
    detection = detected(by_completion(found), Rule(3), ALWAYS)
    assert detection.at == found.probes[6].done
    assert detection.first_failed == found.due(4)
    assert detection.evidence == "3 failures in a row: 2 × status 502, 1 × refused"


def test_single_failures_between_good_answers_do_not_fire(series):
    assert detected(by_completion(series("PxxPPxxPPxxPPxPP")), Rule(3), ALWAYS) is None


def test_good_answers_of_any_zone_reset_the_row(series):
    assert detected(by_completion(series("PPxxSxxSxx")), Rule(3), ALWAYS) is None


def test_one_lane_that_fails_alone_fires(series):
    found = series("PPPPPrPrPrPP")
    assert detected(by_completion(found), Rule(3), ALWAYS).at == found.probes[9].done


def test_failures_due_before_the_fault_are_not_looked_at(series):
    found = series("PPxx|xPPPP")
    assert detected(by_completion(found), Rule(3), ALWAYS) is not None
    assert detected(by_completion(found), Rule(3), found.fault_at) is None


def test_timeouts_that_become_known_after_newer_good_answers_are_old_news(series):
    assert detected(by_completion(series("PPttttttSSSSSSSSSS")), Rule(3), ALWAYS) is None


def test_good_answer_that_was_due_earlier_does_not_hide_newer_failures(series, later):
    found = series("PPPPrrr")
    slow = [later(p, 0.05) if p.seq in {2, 3} else p for p in found.probes]
    assert detected(sorted(slow, key=lambda p: p.done), Rule(3), ALWAYS).at == found.probes[6].done


def test_slow_answers_count_as_failures_only_with_a_threshold(series, later):
    slow = [later(p, 0.5) for p in series("PPP").probes]
    assert detected(slow, Rule(3), ALWAYS) is None
    assert detected(slow, Rule(3, slow=1.0), ALWAYS) is None
    assert detected(slow, Rule(3, slow=0.3), ALWAYS).kinds == {"slow": 3}


def test_pause_of_the_prober_itself_does_not_fire(series):
    assert detected(series("PPLLLLLL").probes, Rule(3, slow=0.2), ALWAYS) is None


def test_requests_that_this_machine_could_not_send_do_not_fire(series):
    assert detected(series("PPcccccc").probes, Rule(3), ALWAYS) is None


def test_requests_that_this_machine_could_not_send_do_not_pass_for_good_answers(series):
    found = series("PPPPxxcx")
    assert detected(by_completion(found), Rule(3), ALWAYS).at == found.probes[7].done


def waiting(probe, at):
    return Overdue(probe.seq, probe.lane, probe.scheduled, probe.sent, at)


def test_hang_is_detected_before_the_clients_give_up(series):
    found = series("PPPPtttttt")
    overdue = [waiting(p, p.sent + 0.5) for p in found.probes[4:]]
    detection = detected([*found.probes[:4], *overdue], Rule(3, slow=0.5), ALWAYS)
    assert detection.at == pytest.approx(found.due(6) + 0.5)
    assert detection.evidence == "3 failures in a row: 3 × no answer yet"


def test_overdue_request_is_not_counted_again_when_it_ends(series):
    hung = series("PPtt").probes[2:]
    events = [*(waiting(p, p.sent + 0.5) for p in hung), *hung]
    assert detected(events, Rule(3, slow=0.5), ALWAYS) is None


def test_overdue_request_that_ends_well_counts_as_slow(series):
    (probe,) = series("P").probes
    events = [waiting(probe, probe.sent + 0.5), replace(probe, done=probe.sent + 0.6)]
    assert detected(events, Rule(1, slow=0.5), ALWAYS).kinds == {"no answer yet": 1}
    assert detected(events[1:], Rule(1, slow=0.5), ALWAYS).kinds == {"slow": 1}


def test_without_a_threshold_waiting_says_nothing(series):
    hung = series("tttt").probes
    assert detected([waiting(p, p.sent + 1) for p in hung], Rule(3), ALWAYS) is None


def test_a_detection_needs_at_least_one_failure():
    with pytest.raises(ValueError, match="at least one failure"):
        Detector(Rule(0))


def test_no_events():
    assert detected([], Rule(1), ALWAYS) is None
