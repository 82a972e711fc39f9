"""The check before ready: an image's logits are the same bits in every slot, beside any neighbours, at any fill.

That is what makes two zones comparable at all: where it does not hold, answers depend on load, and the server must not
become ready. It is also the warm-up: every lane has computed and every decoder has decoded once when it is over.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Protocol

import torch

from inference.drawings import Encoding, draw, encode
from inference.errors import DeviceError
from inference.preprocess import FORMATS

if TYPE_CHECKING:
    from collections.abc import Sequence

_SERIES: Final = "self-check"
_SIZE: Final = (120, 96)


class Computer(Protocol):
    """What is checked. ``logits`` gives one row for each of 1 to ``batch_size`` prepared images."""

    @property
    def batch_size(self) -> int: ...

    def prepare(self, data: bytes) -> bytes: ...

    def logits(self, prepared: Sequence[bytes]) -> torch.Tensor: ...


def drawn_images() -> list[bytes]:
    """One encoded drawing of each accepted format."""
    return [encode(draw(_SERIES, number, size=_SIZE).image, Encoding(name)) for number, name in enumerate(FORMATS)]


def self_check(computer: Computer, images: Sequence[bytes], lanes: int) -> int:
    """Compute the first images (two if a batch has one slot, else three) in all places and compare every bit.

    ``lanes`` threads compute the same batches at one time, as they will when serving. Returns the number of
    computations. Raises DeviceError if a bit differs or a value is not finite, ImageError if an image is not
    acceptable.
    """
    size = computer.batch_size
    prepared = [computer.prepare(image) for image in images][: 2 if size == 1 else 3]
    batches = _arrangements(len(prepared), size)
    if size == lanes == 1:
        batches.append([0])  # once more, where no other lane computes it too

    def in_lane(_: int) -> list[torch.Tensor]:
        return [computer.logits([prepared[number] for number in batch]) for batch in batches]

    with ThreadPoolExecutor(lanes, thread_name_prefix="self-check") as pool:
        computed = list(pool.map(in_lane, range(lanes)))
    alone = torch.cat(computed[0][: len(prepared)])
    if not torch.isfinite(alone).all():
        raise DeviceError("The self-check gave values that are not finite: the weights or the device are broken.")
    for lane, results in enumerate(computed):
        for batch, rows in zip(batches, results, strict=True):
            for slot, number in enumerate(batch):
                if not torch.equal(rows[slot].view(torch.int32), alone[number].view(torch.int32)):
                    raise DeviceError(
                        f"The self-check failed: image {number} has other logits in lane {lane}, slot {slot} of "
                        f"{len(batch)} (batch size {size}) than alone, so answers would depend on load."
                    )
    return lanes * len(batches)


def _arrangements(images: int, size: int) -> list[list[int]]:
    """Batches of image numbers: each alone, then every image in every slot, then batches that are not full."""
    alone = [[number] for number in range(images)]
    if size == 1:
        return alone
    full = [[(slot + turn) % images for slot in range(size)] for turn in range(images)]
    fills = sorted({fill for fill in (2, size // 2, size - 1) if 1 < fill < size})
    return [*alone, *full, *([(slot + fill) % images for slot in range(fill)] for fill in fills)]
