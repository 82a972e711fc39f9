"""The order in which images are sent."""

from __future__ import annotations

from drillctl.traffic.body import shuffled_rounds


def test_order_of_images_is_decided_by_the_seed_and_each_round_has_all():
    def first(seed):
        rounds = shuffled_rounds(list("abcde"), seed)
        return [next(rounds) for _ in range(20)]

    assert first(1) == first(1) != first(2)
    assert all(sorted(first(1)[i : i + 5]) == list("abcde") for i in range(0, 20, 5))
