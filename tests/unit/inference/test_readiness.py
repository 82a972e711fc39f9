from __future__ import annotations

from inference.readiness import Failed, Loading, Readiness


def test_progress_never_goes_back_and_stays_within_one() -> None:
    readiness = Readiness()
    seen = []
    for progress in (0.3, 0.1, 0.9, 7.0):
        readiness.advance(progress)
        seen.append(readiness.state)
    assert seen == [Loading(0.3), Loading(0.3), Loading(0.9), Loading(1.0)]


def test_a_failure_is_final() -> None:
    readiness = Readiness()
    readiness.fail("no device")
    readiness.advance(0.9)
    assert readiness.state == Failed("no device")
