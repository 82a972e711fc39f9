from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from inference.checkpoint import read_checkpoint
from inference.errors import DeviceError
from inference.predictor import Predictor
from inference.preprocess import FORMATS
from inference.selfcheck import drawn_images, self_check

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SAMPLE = Path(__file__).resolve().parents[3] / "inference" / "sample"


class Model:
    """Logits that depend on the image alone, unless ``spoil`` (row, slot, fill) says otherwise; remembers batches."""

    def __init__(self, batch_size: int, spoil: Callable[[torch.Tensor, int, int], torch.Tensor] | None = None) -> None:
        self.batch_size = batch_size
        self.batches: list[tuple[bytes, ...]] = []
        self._spoil = spoil or (lambda row, _slot, _fill: row)

    def prepare(self, data: bytes) -> bytes:
        return data[:40]

    def logits(self, prepared: Sequence[bytes]) -> torch.Tensor:
        self.batches.append(tuple(prepared))
        rows = [torch.tensor([sum(image) / 7, len(image), 0.0]) for image in prepared]
        return torch.stack([self._spoil(row, slot, len(prepared)) for slot, row in enumerate(rows)])


def one_bit(row: torch.Tensor) -> torch.Tensor:
    """The row with the last bit of its first logit turned."""
    bits = row.clone().view(torch.int32)
    bits[0] ^= 1
    return bits.view(torch.float32)


@pytest.mark.parametrize(("batch_size", "lanes"), [(1, 1), (1, 2), (4, 2)])
def test_the_real_model_passes(batch_size: int, lanes: int) -> None:
    predictor = Predictor(read_checkpoint(SAMPLE, None), device="cpu", batch_size=batch_size, threads=1, top_k=1)
    assert self_check(predictor, drawn_images(), lanes) >= 3


@pytest.mark.parametrize("batch_size", [2, 3, 4, 7, 16])
def test_every_image_is_tried_in_every_slot_and_batches_of_several_fills(batch_size: int) -> None:
    model = Model(batch_size)
    assert self_check(model, drawn_images(), 1) == len(model.batches)
    seen = {(image, slot) for batch in model.batches for slot, image in enumerate(batch)}
    images = {image for image, _ in seen}
    assert len(images) == 3
    assert seen == {(image, slot) for image in images for slot in range(batch_size)}
    assert {1, batch_size} <= {len(batch) for batch in model.batches}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda row, slot, fill: one_bit(row) if slot == 5 else row,
        lambda row, slot, fill: one_bit(row) if fill == 8 else row,
        lambda row, slot, fill: one_bit(row) if fill == 7 and slot == 6 else row,
        lambda row, slot, fill: torch.cat((row[:2], torch.tensor([-0.0]))) if slot else row,
    ],
    ids=["slot", "full batch", "last slot of a batch that is not full", "sign of zero"],
)
def test_one_wrong_bit_in_one_place_is_caught(spoil: Callable[[torch.Tensor, int, int], torch.Tensor]) -> None:
    with pytest.raises(DeviceError, match="answers would depend on load"):
        self_check(Model(8, spoil), drawn_images(), 1)


def test_a_lane_that_computes_differently_is_caught() -> None:
    both = threading.Barrier(2, timeout=10)

    def spoil(row: torch.Tensor, _slot: int, _fill: int) -> torch.Tensor:
        both.wait()  # neither thread can take the work of both
        return one_bit(row) if threading.current_thread().name.endswith("_1") else row

    with pytest.raises(DeviceError, match="answers would depend on load"):
        self_check(Model(1, spoil), drawn_images(), 2)


def test_results_that_depend_on_what_was_computed_before_are_caught() -> None:
    count = iter(range(100))
    with pytest.raises(DeviceError, match="answers would depend on load"):
        self_check(Model(1, lambda row, _slot, _fill: one_bit(row) if next(count) == 2 else row), drawn_images(), 1)


def test_values_that_are_not_finite_are_caught() -> None:
    with pytest.raises(DeviceError, match="not finite"):
        self_check(Model(1, lambda row, _slot, _fill: row / 0), drawn_images(), 1)


def test_there_is_a_drawing_of_each_accepted_format() -> None:
    assert len(drawn_images()) == len(FORMATS)
