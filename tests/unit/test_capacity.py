"""The judgement of a load: each way in which a standby falls short is told, and nothing measured is no pass."""

from __future__ import annotations

from dataclasses import replace

from drillctl.capacity import carried
from drillctl.traffic.probe import Probe

GOOD = Probe(0, "fresh", "i.jpg", 1.0, 1.0, 1.02, 200, None, "zone-b", "b-1", None, missed=False)


def probes(number: int, **changed: object) -> list[Probe]:
    return [replace(GOOD, seq=seq, **changed) for seq in range(number)]  # type: ignore[arg-type]


def test_good_answers_in_time_are_enough() -> None:
    found = carried(50.0, "zone-b", [*probes(50), *probes(50, host="b-2")])
    assert found.shortcoming(0.5) is None
    assert str(found) == "100 of 100 requests at 50/s, p99 20 ms"


def test_nothing_sent_is_no_pass() -> None:
    assert carried(50.0, "zone-b", []).shortcoming(0.5) == "0 of the 0 requests could not be sent by this machine"


def test_what_this_machine_could_not_send_proves_nothing() -> None:
    found = carried(50.0, "zone-b", [*probes(9), *probes(1, status=None, error="client:EMFILE")])
    assert found.shortcoming(0.5) == "1 of the 10 requests could not be sent by this machine"


def test_failed_slow_and_strange_answers_are_told() -> None:
    failed = carried(50.0, "zone-b", [*probes(9), *probes(1, status=None, error="timeout")])
    assert failed.shortcoming(0.5) == "1 of 10 requests failed (1 × timeout)"
    assert carried(50.0, "zone-b", probes(9)).shortcoming(0.01) == "the p99 is 20 ms, 10 ms are allowed"
    strange = carried(50.0, "zone-b", [*probes(9), *probes(1, zone="zone-a"), *probes(1, zone=None)])
    assert strange.shortcoming(0.5) == "a server that names no zone, zone-a answered instead"


def test_requests_that_left_late_are_said() -> None:
    assert str(carried(50.0, "zone-b", probes(9, missed=True))).endswith(", 9 sent late")
