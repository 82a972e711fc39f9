from __future__ import annotations

from pathlib import Path

import pytest

from inference.checkpoint import read_checkpoint
from inference.dataset import draw_dataset
from inference.drawings import LABELS
from inference.errors import SettingsError
from inference.predictor import Predictor
from inference.train import HELD_OUT_SERIES, TRAINING_SERIES, Recipe, train

SAMPLE = Path(__file__).resolve().parents[3] / "inference" / "sample"


def test_training_is_reproducible_byte_for_byte(tmp_path: Path) -> None:
    said: list[str] = []
    for name, seed in (("one", 1), ("two", 1), ("other", 2)):
        recipe = Recipe(drawings=128, held_out=18, epochs=1, batch=16, threads=1, seed=seed)
        train(tmp_path / name, recipe, said.append)
    one, two, other = (read_checkpoint(tmp_path / name, None) for name in ("one", "two", "other"))
    assert one.description.sha256 == two.description.sha256 != other.description.sha256
    assert one.description.labels == LABELS
    assert any("held-out accuracy" in line for line in said)


def test_too_few_drawings_are_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="too few"):
        train(tmp_path / "model", Recipe(drawings=3), print)
    assert not (tmp_path / "model").exists()


def test_the_shipped_model_is_small_and_says_how_good_it_was() -> None:
    checkpoint = read_checkpoint(SAMPLE, None)
    assert len(checkpoint.weights) <= 5_000_000
    assert checkpoint.description.labels == LABELS
    training = checkpoint.description.card.training
    assert training is not None
    assert (training.drawings, training.epochs, training.seed) == (Recipe().drawings, Recipe().epochs, Recipe().seed)
    assert training.accuracy >= 0.98


def test_the_shipped_model_recognises_drawings_it_was_not_trained_on() -> None:
    assert HELD_OUT_SERIES != TRAINING_SERIES
    checkpoint = read_checkpoint(SAMPLE, None)
    predictor = Predictor(checkpoint, device="cpu", batch_size=1, threads=1, top_k=1)
    how = checkpoint.description.card.preprocess()
    data = draw_dataset("test", 360, how)
    size = how.crop**2 * 3
    right = sum(
        predictor.compute([data.pixels[number * size : (number + 1) * size]])[0]["predictions"][0]["index"] == index
        for number, index in enumerate(data.classes)
    )
    assert right / data.count >= 0.98
