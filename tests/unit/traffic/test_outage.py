"""The outage arithmetic, on series of probes made by hand (see conftest.py for the letters)."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drillctl.traffic.outage import NoOutage, NotRecovered, Outage, count, latencies, measure_outage, split

INTERVAL = 0.02
SUSTAIN = 0.1


def measure(found, probes=None):
    return measure_outage(found.probes if probes is None else probes, found.fault_at, "b", INTERVAL, SUSTAIN)


def test_clean_kill_is_measured_from_first_failed_to_first_good(series):
    found = series("PPPPPP|xxxxxxxxxxSSSSSSSSSS")
    result = measure(found)
    assert isinstance(result, Outage)
    assert result.first_failed == found.due(6)
    assert result.first_good == found.due(16)
    assert result.seconds == pytest.approx(0.2)
    assert result.lost == 10
    assert result.failed_after == 0
    assert result.first_answer == pytest.approx(found.due(16) + 0.01)
    assert result.sustained_at == pytest.approx(found.due(21) + 0.01), "the answer that completes 0.1 s"


def test_error_bar_is_one_interval_and_little_more_without_lag(series):
    result = measure(series("PPPPPP|xxxxxxxxxxSSSSSSSSSS"))
    # A 502 takes 2 ms here, and the fault may have struck while the first of them was on its way.
    assert result.uncertainty == pytest.approx(INTERVAL + 0.002)


def test_late_send_at_the_end_widens_the_error_bar_by_its_lag(series):
    result = measure(series("PPPPPP|xxxxxxxxxxLSSSSSSSSS"))
    assert result.seconds == pytest.approx(0.2)
    assert result.uncertainty == pytest.approx(INTERVAL + 0.3)


def test_missed_sends_that_hide_the_outage_show_in_the_error_bar(series):
    # Ten requests were due while the service was down and left only when it was up again.
    result = measure(series("PPPPPP|xLLLLLLLLLLSSSSSSSSSS"))
    assert result.seconds == pytest.approx(INTERVAL)
    assert result.uncertainty >= 0.3


def test_long_gap_before_the_first_failure_widens_the_error_bar(series):
    result = measure(series("PPPP|......xxxxSSSSSSSSSS"))
    assert result.seconds == pytest.approx(4 * INTERVAL)
    assert result.uncertainty == pytest.approx(7 * INTERVAL)


def test_flapping_ends_with_the_first_good_request_that_lasts(series):
    found = series("PPPP|xxxxSSxxSSSxxSSSSSSSSSS")
    result = measure(found)
    assert result.first_good == found.due(17)
    assert result.lost == 8
    assert result.first_answer == pytest.approx(found.due(8) + 0.01), "earlier, and not sustained"


def test_failure_after_the_recovery_is_counted_and_does_not_move_it(series):
    found = series("PPPP|xxxxSSSSSSSSSSxxSSSSSSSS")
    result = measure(found)
    assert result.first_good == found.due(8)
    assert (result.lost, result.failed_after) == (4, 2)


GOOD = "S" * 6
"""Just enough good answers to count as sustained."""


@pytest.mark.parametrize(
    ("later", "end", "lost", "after"),
    [
        ("x" + GOOD + "x" + GOOD, 8, 4, 2),
        ("xx" + GOOD + "Sxx" + GOOD, 8, 4, 4),
        ("xxxx" + GOOD, 8, 4, 4),
        ("xxxxx" + GOOD, 19, 9, 0),
        ("xSxSxSxS" + GOOD, 21, 8, 0),
        ("xxx" + GOOD + "xxx" + GOOD, 26, 10, 0),
        ("xxxxx" + GOOD + "x" + GOOD, 19, 9, 1),
        ("xxx" + "SS" * 20, 8, 4, 3),
    ],
    ids=[
        "stray failures",
        "two at a time",
        "a burst that is shorter than what counts as sustained",
        "as long as that",
        "one lane alone",
        "two bursts, together as long as that",
        "a stray one after the relapse",
        "a burst, and good to the end",
    ],
)
def test_what_counts_as_a_relapse(series, later, end, lost, after):
    found = series("PPPP|xxxx" + GOOD + later)
    result = measure(found)
    assert (result.first_good, result.lost, result.failed_after) == (found.due(end), lost, after)
    assert result.relapsed_after == (None if end == 8 else pytest.approx(4 * INTERVAL))


def test_clients_that_relapse_for_good_have_not_recovered(series):
    found = series("PPPP|xxxx" + GOOD + "x" * 10 + "SS")
    result = measure(found)
    assert isinstance(result, NotRecovered)
    assert result.lost == 14
    assert result.reason.startswith("recovered after 0.08 s, and relapsed: good answers from b for the last 0.02 s")


def test_a_burst_just_before_the_end_is_no_relapse(series):
    assert measure(series("PPPP|xxxx" + GOOD + "xxxx")).failed_after == 4


def test_what_was_in_flight_when_something_else_was_done_is_no_relapse(series):
    """Requests of the last second before the restore, or before the next fault, which fail by that."""
    found = series("PPPP|xxxx" + GOOD + "t" * 10)
    assert isinstance(measure(found), NotRecovered)
    result = measure_outage(found.probes, found.fault_at, "b", INTERVAL, SUSTAIN, until=found.due(24))
    assert (result.first_good, result.failed_after, result.relapsed_after) == (found.due(8), 0, None)


def test_late_good_answers_of_the_primary_are_no_recovery(series):
    found = series("PPPP|xxxxPPPPPPPPPPSSSSSSSSSS")
    result = measure(found)
    assert result.first_good == found.due(18)
    assert result.lost == 4


def test_late_good_answer_of_the_primary_among_those_of_the_standby_breaks_the_streak(series):
    found = series("PPPP|xxxxSSSSPSSSSSSSSSS")
    assert measure(found).first_good == found.due(13)


def test_good_answers_without_a_zone_are_no_recovery(series):
    result = measure(series("PPPP|xxxxNNNNNNNNNN"))
    assert isinstance(result, NotRecovered)
    assert result.reason == "no good answer from b"


def test_no_failure_and_the_standby_took_over(series):
    found = series("PPPP|PPPPSSSSSSSSSS")
    assert measure(found) == NoOutage(standby_since=found.due(8), uncertainty=pytest.approx(INTERVAL))


def test_no_failure_and_the_standby_never_served(series):
    result = measure(series("PPPP|PPPPPPPPPPPP"))
    assert isinstance(result, NoOutage)
    assert result.standby_since is None


def test_pause_of_the_prober_says_how_long_an_outage_may_have_passed_unseen(series):
    assert measure(series("PPPP|SSSSSSSSLLLLLLLLLSSSSSSSS")).uncertainty == pytest.approx(10 * INTERVAL)
    assert measure(series("PPPP|SSSS........SSSSSSSS")).uncertainty == pytest.approx(9 * INTERVAL)


def test_never_recovers(series):
    result = measure(series("PPPP|xxxxxxxxxxxx"))
    assert result == NotRecovered(result.first_failed, 12, "no good answer from b")


def test_primary_that_comes_back_by_itself_is_no_recovery(series):
    assert isinstance(measure(series("PPPP|xxxxPPPPPPPPPP")), NotRecovered)


def test_recovery_too_near_the_end_is_not_sustained(series):
    result = measure(series("PPPP|xxxxSSSS"))
    assert isinstance(result, NotRecovered)
    assert result.reason == "good answers from b for the last 0.06 s only; 0.1 s count as sustained"


def test_good_answers_that_end_in_a_failure_are_no_recovery(series):
    result = measure(series("PPPP|xxxxSSSx"))
    assert result.reason == "good answers from b (3), but the last request was not one of them"


def test_502_then_504_is_one_outage(series):
    found = series("PPPP|xxxx4444SSSSSSSSSS")
    result = measure(found)
    assert result.seconds == pytest.approx(8 * INTERVAL)
    assert count(found.probes, found.fault_at).kinds == {"status 502": 4, "status 504": 4}


def test_only_the_keepalive_lane_failing_is_an_outage_with_a_wider_error_bar(series):
    found = series("PPPPPP|PrPrPrSrSrSrSSSSSSSSSS")
    result = measure(found)
    assert result.first_failed == found.due(7)
    assert result.first_good == found.due(18)
    assert result.lost == 6
    # The lane sends every second interval, and its first good request is one later than the other lane's.
    assert result.uncertainty == pytest.approx(3 * INTERVAL)


def test_recovery_of_one_lane_alone_is_not_sustained(series):
    found = series("PPPP|xxxxSxSxSxSxSxSxSx")
    assert isinstance(measure(found), NotRecovered)


def test_one_good_request_proves_nothing_about_the_other_lane(series):
    found = series("PPPP|xxxxSxSSSS")
    assert measure_outage(found.probes, found.fault_at, "b", INTERVAL, sustain=0.0).first_good == found.due(10)


def test_lane_that_falls_silent_is_not_taken_for_recovered(series):
    found = series("PPPP|xxxxSSSSSSSSSSSS")
    without = [p for p in found.probes if p.lane == "fresh" or p.scheduled < found.due(8)]
    assert isinstance(measure(found, without), NotRecovered)


def test_single_blip_before_the_fault_does_not_belong_to_it(series):
    found = series("PPxPPPPPPP|PPxxxxSSSSSSSSSS")
    result = measure(found)
    assert result.first_failed == found.due(12)
    assert result.lost == 4


def test_request_that_waited_too_long_before_the_fault_does_not_belong_to_it(series):
    found = series("PPPPtPPPPPPPPPPP|xxxxSSSSSSSSSS")  # given up long after the fault, in trouble long before
    assert measure(found).first_failed == found.due(16)


def test_blip_before_the_fault_does_not_make_an_outage_of_none(series):
    assert measure(series("PPtPPPPPPP|PPPPSSSSSSSSSS")).standby_since is not None


def test_request_in_flight_at_the_fault_belongs_to_it(series, later):
    found = series("PPPPPPx|xxxSSSSSSSSSS")  # due 10 ms before the fault: as long as requests usually take
    probes = [later(p, 0.012) if p.seq == 6 else p for p in found.probes]
    result = measure(found, probes)
    assert result.first_failed == found.due(6)
    assert result.lost == 4


def test_request_that_had_failed_just_before_the_fault_does_not_belong_to_it(series):
    assert isinstance(measure(series("PPPPPPr|SSSSSSSSSS")), NoOutage)


def test_order_of_completion_does_not_matter(series):
    found = series("PPPP|xx4t4xxxSSSSSSSSSS")
    shuffled = found.probes.copy()
    random.Random(7).shuffle(shuffled)
    assert measure(found, shuffled) == measure(found)
    assert measure(found, sorted(found.probes, key=lambda p: p.done)) == measure(found)


def test_request_without_a_record_breaks_the_proof_of_recovery(series):
    found = series("PPPP|xxxxSS.SSSSSSSSSS")
    assert measure(found).first_good == found.due(11)
    unfinished = measure(series("PPPP|xxxxSS.SSS"))
    assert isinstance(unfinished, NotRecovered)
    assert "after 1 without a record" in unfinished.reason


def test_what_this_machine_could_not_send_is_no_failure_of_the_service(series):
    assert measure(series("PPPP|cccSSSSSSSSSS")).standby_since is not None
    assert measure(series("PPPP|xxccxxSSSSSSSSSS")).lost == 4


def test_what_this_machine_could_not_send_is_no_evidence_of_when_the_outage_ended(series):
    result = measure(series("PPPP|xxxcccSSSSSSSSSS"))
    assert result.seconds == pytest.approx(6 * INTERVAL)
    assert result.uncertainty == pytest.approx(4 * INTERVAL + 0.002)


def test_what_this_machine_could_not_send_proves_no_recovery(series):
    found = series("PPPP|xxxxSSSScSSSSSSSSSSS")
    assert measure(found).first_good == found.due(13)


def test_empty_series():
    assert measure_outage([], 0.0, "b", INTERVAL, SUSTAIN) == NoOutage(None, INTERVAL)


def test_series_that_begins_with_the_outage(series):
    result = measure(series("|xxxxSSSSSSSSSS"))
    assert result.seconds == pytest.approx(4 * INTERVAL)
    assert result.uncertainty >= INTERVAL


def test_parts_add_up_from_the_fault_to_the_end_of_the_outage(series):
    found = series("PPPPPP|xxxxxxxxxxSSSSSSSSSS")
    outage = measure(found)
    parts = split(found.fault_at, found.fault_at + 0.05, found.fault_at + 0.15, outage)
    assert parts.detection == pytest.approx(0.05)
    assert parts.switch == pytest.approx(0.1)
    assert parts.detection + parts.switch + parts.answer == pytest.approx(outage.first_good - found.fault_at)
    assert parts.sustain == pytest.approx(outage.sustained_at - outage.first_good)


def test_planned_switch_has_no_detection(series):
    found = series("PPPP|xxSSSSSSSSSS")
    parts = split(found.fault_at, None, found.fault_at + 0.04, measure(found))
    assert parts.detection is None
    assert parts.switch == pytest.approx(0.04)


def test_counts_keep_every_request(series):
    found = series("PPPPcN|xx4tSSLLS")
    counts = count(found.probes, slow=0.1)
    assert (counts.sent, counts.ok, counts.failed) == (14, 10, 4)
    assert counts.sent == counts.ok + counts.failed
    assert counts.slow == 2, "latency counts from the scheduled send, so that two late ones are slow"
    assert (counts.missed, counts.unsent) == (3, 1)
    assert counts.by_zone == {"a": 4, "unnamed": 1, "b": 5}
    assert counts.kinds == {"status 502": 2, "status 504": 1, "timeout": 1}


def test_count_takes_a_window_by_scheduled_time_without_its_end(series):
    found = series("PPPP|xxxxSSSS")
    assert count(found.probes, found.due(4), found.due(8)).failed == 4
    assert count(found.probes, found.due(5), found.due(7)).sent == 2
    assert count([]).sent == 0


def test_percentiles_are_nearest_rank(series, later):
    probes = [later(p, i / 100 - 0.01) for i, p in enumerate(series("P" * 10).probes, start=1)]
    found = latencies(probes)
    assert (found.p50, found.p90, found.p99, found.max) == tuple(pytest.approx(v) for v in (0.05, 0.09, 0.1, 0.1))
    assert latencies(series("xxtt").probes).p50 is None


@given(
    began=st.floats(0.0, 0.4),
    lasted=st.floats(0.0, 3.0),
    lags=st.lists(st.floats(0.0, 0.2), min_size=1, max_size=40),
    took=st.floats(0.001, 0.05),
)
def test_truth_is_within_the_error_bar_whatever_the_phase_and_the_lag(series, began, lasted, lags, took):
    """A service that is down from `began` to `began + lasted`, seen by requests that arrive late by `lags`."""
    template = series("P" * 250).probes
    down = template[20].scheduled + began
    up = down + lasted
    seen = []
    for index, probe in enumerate(template):
        sent = probe.scheduled + lags[index % len(lags)]
        if sent + took < down or sent >= up:
            seen.append(_seen(probe, sent, took, 200, "b" if sent >= up else "a"))
        else:
            seen.append(_seen(probe, sent, 0.001 if sent >= down else down - sent, 502, None))
    result = measure_outage(seen, down, "b", INTERVAL, SUSTAIN)
    if isinstance(result, Outage):
        assert abs(result.seconds - lasted) <= result.uncertainty + 1e-6
    else:
        assert isinstance(result, NoOutage)
        assert lasted <= result.uncertainty + 1e-6


def _seen(probe, sent, took, status, zone):
    return replace(probe, sent=sent, done=sent + took, status=status, zone=zone, error=None)
