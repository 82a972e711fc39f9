"""A model on disk, in any of the forms that MODEL_PATH may name; read strictly, and without PyTorch.

| form | weights | labels | card |
|---|---|---|---|
| packed, made by ``python -m inference pack`` or ``train`` | ``model.safetensors`` | ``labels.txt`` | ``model.json`` |
| ModelScope's general recognition | ``pytorch_model.pt`` | ``meta_info.txt``, second column | known |
| any other state dict | one ``.pth`` or ``.pt`` | ``labels.txt`` | ``model.json`` |

A wrong or incomplete model is refused before anything slow happens. The bytes that are hashed are the bytes that are
handed on: each file is read once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from inference.card import CARD, ModelCard, modelscope_card, parse_card
from inference.errors import CheckpointError, HashMismatchError
from inference.manifest import MANIFEST, read_manifest
from inference.weights import read_hashed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from inference.identity import Fact

WEIGHTS: Final = "model.safetensors"
LABELS: Final = "labels.txt"
MODELSCOPE_WEIGHTS: Final = "pytorch_model.pt"
MODELSCOPE_LABELS: Final = "meta_info.txt"

Format = Literal["safetensors", "pickle"]
_PICKLES: Final = (".pt", ".pth")


@dataclass(frozen=True)
class ModelDescription:
    """All of a model but its weights: where they came from, their SHA-256 (hex), labels by class index, the card."""

    path: Path
    sha256: str
    labels_path: Path
    labels: tuple[str, ...]
    card: ModelCard

    def facts(self) -> dict[str, Fact]:
        """Return what of the model can change an answer beside its weights, each as a SHA-256.

        Taken over what was understood, not over the files: a model answers the same before and after packing.
        """
        return {
            "labels": hashlib.sha256("\n".join(self.labels).encode("utf-8")).hexdigest(),
            "card": hashlib.sha256(
                self.card.model_dump_json(include={"architecture", "classes", "preprocessing"}).encode("utf-8")
            ).hexdigest(),
        }


@dataclass(frozen=True)
class Checkpoint:
    """A model as read. ``weights`` are the raw bytes of the file in the given format."""

    description: ModelDescription
    weights: memoryview | bytes
    format: Format = "safetensors"


def read_checkpoint(
    path: Path, expected_sha256: str | None, on_progress: Callable[[float], None] = lambda _: None
) -> Checkpoint:
    """Read a model; ``path`` is its folder or the weights file in it.

    ``on_progress`` gets the share of the weights checked so far, 0 to 1. Where the folder has a manifest, every file is
    checked against it. Raises HashMismatchError if that or ``expected_sha256`` differs, CheckpointError for anything
    missing, unreadable or contradictory.
    """
    weights_path = _find_weights(path)
    folder = weights_path.parent
    manifest = read_manifest(folder)
    try:
        weights, sha256 = read_hashed(weights_path, on_progress)
    except OSError as error:
        raise CheckpointError(
            f"Cannot read the weights {weights_path}: {error.strerror}. MODEL_PATH must name a folder with {WEIGHTS}, "
            f"{LABELS} and {CARD}, or the weights file in it; or a folder with {MODELSCOPE_WEIGHTS} and "
            f"{MODELSCOPE_LABELS}."
        ) from error
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise HashMismatchError(
            f"{weights_path} is not the expected model: its sha256 is {sha256}, MODEL_SHA256 asks for "
            f"{expected_sha256}. Nothing is served. Put the right file in place, or correct MODEL_SHA256."
        )
    _check_listed(weights_path, sha256, manifest)
    labels_path, labels, card = _read_words(weights_path, manifest)
    if len(labels) != card.classes:
        raise CheckpointError(
            f"{labels_path} has {len(labels)} labels, but {folder / CARD} says {card.classes} classes: "
            "the folder is not complete or mixes two models."
        )
    description = ModelDescription(weights_path, sha256, labels_path, labels, card)
    return Checkpoint(description, weights, "pickle" if weights_path.suffix in _PICKLES else "safetensors")


def write_checkpoint(folder: Path, weights: bytes, labels: tuple[str, ...], card: ModelCard) -> None:
    """Write a model folder without a manifest; existing files of these names are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(weights)
    (folder / LABELS).write_text(labels_text(labels), encoding="utf-8")
    (folder / CARD).write_text(card.text(), encoding="utf-8")


def labels_text(labels: tuple[str, ...]) -> str:
    """Return the content of ``labels.txt``: one label a line, line number − 1 is the class index."""
    return "".join(f"{label}\n" for label in labels)


def _find_weights(path: Path) -> Path:
    """Return the weights file that a path names; it may still be missing."""
    if not path.is_dir():
        return path if path.suffix in (*_PICKLES, ".safetensors") else path / WEIGHTS
    for name in (WEIGHTS, MODELSCOPE_WEIGHTS):
        if (path / name).exists():
            return path / name
    others = sorted(other for suffix in _PICKLES for other in path.glob(f"*{suffix}"))
    if len(others) > 1:
        raise CheckpointError(
            f"{path} holds several files of weights ({', '.join(other.name for other in others[:5])}): MODEL_PATH must "
            "name the one to serve."
        )
    return others[0] if others else path / WEIGHTS


def _read_words(weights: Path, manifest: Mapping[str, str] | None) -> tuple[Path, tuple[str, ...], ModelCard]:
    """Return where the labels came from, the labels, and the card."""
    folder = weights.parent
    if weights.name == MODELSCOPE_WEIGHTS and not (folder / CARD).exists():
        path = folder / MODELSCOPE_LABELS
        labels = _second_column(path, _read_text(path, manifest))
        return path, labels, modelscope_card(len(labels))
    card = parse_card(_read_text(folder / CARD, manifest), folder / CARD)
    path = folder / LABELS
    return path, _lines(path, _read_text(path, manifest)), card


def _read_text(path: Path, manifest: Mapping[str, str] | None) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"Cannot read {path}: {error.strerror}; it belongs beside the weights.") from error
    _check_listed(path, hashlib.sha256(content).hexdigest(), manifest)
    try:
        return content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not UTF-8 (byte {error.start}).") from error


def _check_listed(path: Path, sha256: str, manifest: Mapping[str, str] | None) -> None:
    if manifest is None or manifest.get(path.name) == sha256:
        return
    if path.name not in manifest:
        raise CheckpointError(f"{path} is not in the {MANIFEST} beside it: it was not packed with the rest.")
    raise HashMismatchError(
        f"{path} is not the file that was packed: its sha256 is {sha256}, {MANIFEST} says {manifest[path.name]}. "
        "Nothing is served. Put the packed file back, or pack the model again."
    )


def _lines(path: Path, text: str) -> tuple[str, ...]:
    labels = tuple(text.removesuffix("\n").split("\n"))
    for number, label in enumerate(labels, start=1):
        if not label.strip():
            raise CheckpointError(f"{path}:{number} is empty; every line is the label of one class.")
    return labels


def _second_column(path: Path, text: str) -> tuple[str, ...]:
    rows = [line.split("\t") for line in _lines(path, text)]
    for number, row in enumerate(rows, start=1):
        if len(row) < 2 or not row[1].strip():
            raise CheckpointError(f"{path}:{number} has no label: columns are separated by tabs, the second is it.")
    return tuple(row[1] for row in rows)
