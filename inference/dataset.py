"""A series of drawings as the model sees them: preprocessed pixels in memory.

Without PyTorch, so that drawing processes start fast.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Final

from inference.drawings import sample
from inference.preprocess import Preprocessing, pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

_CHUNK: Final = 250


@dataclass(frozen=True)
class Dataset:
    """``count`` images of ``side`` × ``side`` interleaved RGB bytes, one after another, and their class indices."""

    pixels: bytes
    classes: tuple[int, ...]
    side: int

    @property
    def count(self) -> int:
        return len(self.classes)


def draw_dataset(purpose: str, count: int, how: Preprocessing, processes: int = 1) -> Dataset:
    """Draw, encode, decode and preprocess pictures 0…count-1 of a series, the same with any number of processes."""
    chunks = [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    work = partial(_draw_chunk, purpose, how)
    if processes == 1:
        parts = [work(chunk) for chunk in chunks]
    else:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            parts = list(pool.map(work, chunks))
    return Dataset(
        pixels=b"".join(data for data, _ in parts),
        classes=tuple(index for _, indices in parts for index in indices),
        side=how.crop,
    )


def _draw_chunk(purpose: str, how: Preprocessing, numbers: Sequence[int]) -> tuple[bytes, list[int]]:
    samples = [sample(purpose, number) for number in numbers]
    return b"".join(pixels(data, how) for data, _ in samples), [index for _, index in samples]
