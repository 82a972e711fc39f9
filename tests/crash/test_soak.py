"""What counts as growth (pure)."""

from __future__ import annotations

from tests.crash.soak import WARM_UP, Count, grown

MIB = 1 << 20


def counts(what: str, *numbers: int) -> list[Count]:
    return [{what: 0}] * WARM_UP + [{what: number} for number in numbers]


def test_what_stays_or_comes_and_goes_has_not_grown() -> None:
    assert grown(counts("gateway processes", 9, 10, 9, 10, 9, 10)) == []
    assert grown(counts("drillctl memory", 100 * MIB, 101 * MIB, 102 * MIB)) == []
    assert grown([]) == []


def test_one_more_descriptor_file_or_process_has_grown() -> None:
    assert grown(counts("gateway descriptors", 90, 90, 90, 90, 90, 91)) == ["gateway descriptors grew from 90 to 91"]


def test_memory_that_grows_beyond_what_allocators_do_has_grown() -> None:
    assert grown(counts("drillctl memory", 100 * MIB, 103 * MIB, 105 * MIB)) != []


def test_logs_may_grow() -> None:
    assert grown(counts("gateway log bytes", 1, 2, 3)) == []
