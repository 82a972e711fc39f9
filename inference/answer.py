"""What is answered for an image, and its one canonical byte form.

Two servers agree when these bytes are equal; nothing in them may depend on zone, host, time or load.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping


_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class Prediction(TypedDict):
    """One class: its index and label, the raw logit, and the softmax score (0–1)."""

    index: int
    label: str
    logit: float
    score: float


class Answer(TypedDict):
    """The top-k predictions, highest logit first, ties by index."""

    predictions: list[Prediction]


def canonical_json(value: Mapping[str, object]) -> bytes:
    """Sorted keys, no spaces, UTF-8 unescaped, shortest exact floats; NaN and infinity are refused (ValueError)."""
    return _ENCODER.encode(value).encode("utf-8")
