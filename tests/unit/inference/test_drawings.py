from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from inference.dataset import draw_dataset
from inference.drawings import CLASSES, LABELS, draw, sample
from inference.preprocess import Preprocessing

HOW = Preprocessing(resize=80, crop=72, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def test_there_are_enough_classes_with_distinct_chinese_labels() -> None:
    assert len(set(LABELS)) == len(CLASSES) >= 24
    assert "红色圆形" in LABELS
    assert all("\u4e00" <= letter <= "\u9fff" for label in LABELS for letter in label)


def test_a_drawing_depends_on_its_number_only() -> None:
    forwards = [sample("some", number)[0] for number in range(12)]
    backwards = [sample("some", number)[0] for number in reversed(range(12))]
    assert forwards == backwards[::-1]


def test_series_do_not_share_drawings() -> None:
    hashes = Counter(
        hashlib.sha256(sample(purpose, number)[0]).digest() for purpose in ("train", "held-out") for number in range(72)
    )
    assert set(hashes.values()) == {1}


def test_a_series_is_balanced() -> None:
    assert {draw("some", number).index for number in range(len(CLASSES))} == set(range(len(CLASSES)))


@pytest.mark.parametrize("size", [(64, 64), (300, 90), (90, 300), (1600, 1200)])
def test_a_drawing_has_the_size_asked_for(size: tuple[int, int]) -> None:
    assert draw("some", 1, size=size).image.size == size


def test_a_dataset_does_not_depend_on_the_number_of_processes() -> None:
    assert draw_dataset("some", 260, HOW) == draw_dataset("some", 260, HOW, processes=2)
