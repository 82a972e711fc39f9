"""The model folder: ``model.safetensors`` (weights), ``labels.txt`` (one label a line), ``model.json`` (the card).

Reading is strict and needs no PyTorch, so that a wrong or incomplete model is refused before anything slow happens.
The bytes that are hashed are the bytes that are handed on: the file is read once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from inference.errors import CheckpointError, HashMismatchError
from inference.preprocess import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WEIGHTS: Final = "model.safetensors"
LABELS: Final = "labels.txt"
CARD: Final = "model.json"

_CHUNK: Final = 8 << 20


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Architecture(_Strict):
    """A ResNeSt shape; see ``inference.resnest.ResNeStShape`` for the meaning of the numbers."""

    family: Literal["resnest"]
    blocks: tuple[int, int, int, int] = Field(strict=False)
    stem_width: int = Field(ge=1)
    width: int = Field(ge=1)


class PreprocessingCard(_Strict):
    """Sizes in pixels, mean and standard deviation of the channels after scaling to 0–1."""

    resize: int = Field(ge=1, le=4096)
    crop: int = Field(ge=1, le=4096)
    mean: tuple[float, float, float] = Field(strict=False)
    std: tuple[float, float, float] = Field(strict=False)

    @model_validator(mode="after")
    def _crop_fits(self) -> PreprocessingCard:
        if self.crop > self.resize:
            msg = f"crop ({self.crop}) must not be larger than resize ({self.resize})"
            raise ValueError(msg)
        if min(self.std) <= 0:
            msg = "std must be positive"
            raise ValueError(msg)
        return self


class Training(_Strict):
    """How the weights came about and how good they are; for people, nothing reads it."""

    command: str
    date: str
    drawings: int
    epochs: int
    seed: int
    seconds: float
    held_out: int
    accuracy: float
    torch: str


class ModelCard(_Strict):
    """``model.json``: what must be known to run the weights."""

    name: str = Field(min_length=1)
    architecture: Architecture
    classes: int = Field(ge=1)
    preprocessing: PreprocessingCard
    training: Training | None = None

    def preprocess(self) -> Preprocessing:
        card = self.preprocessing
        return Preprocessing(resize=card.resize, crop=card.crop, mean=card.mean, std=card.std)


@dataclass(frozen=True)
class ModelDescription:
    """All of a model but its weights: where they came from, their SHA-256 (hex), labels by class index, the card."""

    path: Path
    sha256: str
    labels: tuple[str, ...]
    card: ModelCard


@dataclass(frozen=True)
class Checkpoint:
    """A model folder as read. The raw weights are wanted only until the model is built; let go of them then."""

    description: ModelDescription
    weights: bytes


def read_checkpoint(
    path: Path, expected_sha256: str | None, on_progress: Callable[[float], None] = lambda _: None
) -> Checkpoint:
    """Read a model folder; ``path`` is the folder or the weights file in it.

    ``on_progress`` gets the share of the weights checked so far, 0 to 1. Raises HashMismatchError if
    ``expected_sha256`` is given and differs, CheckpointError for anything missing, unreadable or contradictory.
    """
    folder = path if path.is_dir() else path.parent
    weights_path = folder / WEIGHTS if path.is_dir() else path
    weights, sha256 = _read_hashed(weights_path, on_progress)
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise HashMismatchError(
            f"{weights_path} is not the expected model: its sha256 is {sha256}, MODEL_SHA256 asks for "
            f"{expected_sha256}. Nothing is served. Put the right file in place, or correct MODEL_SHA256."
        )
    card = _read_card(folder / CARD)
    labels = _read_labels(folder / LABELS)
    if len(labels) != card.classes:
        raise CheckpointError(
            f"{folder / LABELS} has {len(labels)} labels, but {folder / CARD} says {card.classes} classes: "
            "the folder is not complete or mixes two models."
        )
    return Checkpoint(ModelDescription(path=weights_path, sha256=sha256, labels=labels, card=card), weights)


def write_checkpoint(folder: Path, weights: bytes, labels: tuple[str, ...], card: ModelCard) -> None:
    """Write a model folder; existing files of these names are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(weights)
    (folder / LABELS).write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    (folder / CARD).write_text(card.model_dump_json(indent=2, exclude_none=True) + "\n", encoding="utf-8")


def _read_hashed(path: Path, on_progress: Callable[[float], None]) -> tuple[bytes, str]:
    try:
        weights = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"Cannot read the weights {path}: {error.strerror}. MODEL_PATH must name a folder with {WEIGHTS}, {LABELS} "
            f"and {CARD}, or the weights file in it."
        ) from error
    digest = hashlib.sha256()
    view = memoryview(weights)
    for start in range(0, len(weights), _CHUNK):
        digest.update(view[start : start + _CHUNK])
        on_progress(min(1.0, (start + _CHUNK) / len(weights)))
    return weights, digest.hexdigest()


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"Cannot read {path}: {error.strerror}; it belongs beside the weights.") from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not UTF-8 (byte {error.start}).") from error


def _read_labels(path: Path) -> tuple[str, ...]:
    labels = tuple(_read_text(path).removesuffix("\n").split("\n"))
    for number, label in enumerate(labels, start=1):
        if not label.strip():
            raise CheckpointError(f"{path}:{number} is empty; every line is the label of one class.")
    return labels


def _read_card(path: Path) -> ModelCard:
    try:
        return ModelCard.model_validate_json(_read_text(path))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise CheckpointError(f"{path} is not a valid model card: {where}: {first['msg']}.") from error
