from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from inference.checkpoint import read_checkpoint
from inference.drawings import CLASSES
from inference.golden import draw_golden
from inference.predictor import Predictor

SAMPLE = Path(__file__).resolve().parents[3] / "inference" / "sample"


def test_the_set_is_varied_and_small(golden: list[Path]) -> None:
    images = {}
    for path in golden:
        with Image.open(path) as image:
            images[path.name] = (image.format, image.size, image.mode)
    assert len(images) >= 32
    assert sum(path.stat().st_size for path in golden) <= 1_500_000
    assert {kind for kind, _, _ in images.values()} == {"JPEG", "PNG", "WEBP", "BMP"}
    assert {mode for _, _, mode in images.values()} >= {"RGB", "P", "RGBA"}
    sides = [side for _, size, _ in images.values() for side in size]
    assert (min(sides), max(sides)) == (64, 1600)
    for name, (_, (width, height), _) in images.items():
        assert name.isascii()
        assert f"-{width}x{height}" in name


def test_the_shipped_files_are_what_the_draw_command_draws(golden: list[Path], tmp_path: Path) -> None:
    drawn = {image.name: image.data for image in draw_golden()}
    assert sorted(drawn) == [path.name for path in golden]
    for path in golden:
        (tmp_path / path.name).write_bytes(drawn[path.name])
        # Another encoder version may differ in single levels, another picture differs in many.
        with Image.open(path) as shipped, Image.open(tmp_path / path.name) as again:
            difference = ImageStat.Stat(ImageChops.difference(shipped.convert("RGB"), again.convert("RGB")))
        assert max(difference.mean) < 1, path.name


def test_the_sample_model_recognises_them_with_a_clear_margin(golden: list[Path]) -> None:
    predictor = Predictor(read_checkpoint(SAMPLE, None), device="cpu", batch_size=1, threads=1, top_k=2)
    wrong, narrow = [], []
    for path in golden:
        colour, shape = path.name.split("-")[:2]
        first, second = predictor.predict_image(path)["predictions"]
        if first["index"] != CLASSES.index((colour, shape)):
            wrong.append(path.name)
        if first["logit"] - second["logit"] < 1.0:
            narrow.append(path.name)
    assert len(wrong) <= len(golden) // 32, wrong
    assert len(narrow) <= len(golden) // 32, narrow


def test_a_picture_of_another_class_would_be_noticed(golden: list[Path]) -> None:
    """The check above can fail: under shifted names nothing is right."""
    predictor = Predictor(read_checkpoint(SAMPLE, None), device="cpu", batch_size=1, threads=1, top_k=1)
    right = 0
    for path, other in zip(golden, [*golden[7:], *golden[:7]], strict=True):
        colour, shape = other.name.split("-")[:2]
        right += predictor.predict_image(path)["predictions"][0]["index"] == CLASSES.index((colour, shape))
    assert right == pytest.approx(0, abs=1)
