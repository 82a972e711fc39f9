from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inference.checkpoint import read_checkpoint, write_checkpoint
from inference.errors import CheckpointError, HashMismatchError

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLE = Path(__file__).resolve().parents[3] / "inference" / "sample"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the sample model that a test may spoil."""
    return Path(shutil.copytree(SAMPLE, tmp_path / "model"))


def test_the_hash_is_of_the_bytes_that_are_handed_on() -> None:
    checkpoint = read_checkpoint(SAMPLE, None)
    assert checkpoint.weights == (SAMPLE / "model.safetensors").read_bytes()
    assert checkpoint.description.sha256 == hashlib.sha256(checkpoint.weights).hexdigest()
    assert len(checkpoint.description.labels) == checkpoint.description.card.classes


def test_the_weights_file_names_the_same_model_as_its_folder() -> None:
    assert read_checkpoint(SAMPLE / "model.safetensors", None) == read_checkpoint(SAMPLE, None)


def test_progress_rises_to_one() -> None:
    seen: list[float] = []
    read_checkpoint(SAMPLE, None, seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    sample = read_checkpoint(SAMPLE, None)
    write_checkpoint(tmp_path / "new", sample.weights, sample.description.labels, sample.description.card)
    copy = read_checkpoint(tmp_path / "new", sample.description.sha256)
    assert (copy.weights, copy.description.labels, copy.description.card) == (
        sample.weights,
        sample.description.labels,
        sample.description.card,
    )


def test_one_changed_byte_is_a_hash_mismatch_that_names_both_hashes(folder: Path) -> None:
    right = read_checkpoint(folder, None).description.sha256
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(HashMismatchError) as raised:
        read_checkpoint(folder, right)
    assert right in str(raised.value)
    assert hashlib.sha256(data).hexdigest() in str(raised.value)


def _card(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    card = json.loads((folder / "model.json").read_text())
    change(card)
    (folder / "model.json").write_text(json.dumps(card))


def _shorten_labels(folder: Path) -> None:
    lines = (folder / "labels.txt").read_text().splitlines()
    (folder / "labels.txt").write_text("\n".join(lines[:-1]) + "\n")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "Cannot read the weights"),
        (lambda folder: (folder / "labels.txt").unlink(), "labels.txt"),
        (lambda folder: (folder / "model.json").unlink(), "model.json"),
        (_shorten_labels, "has 35 labels"),
        (lambda folder: (folder / "labels.txt").write_text("a\n\nb\n"), "labels.txt:2 is empty"),
        (lambda folder: (folder / "labels.txt").write_bytes("红色".encode("gbk")), "not UTF-8"),
        (lambda folder: (folder / "model.json").write_text("{"), "not a valid model card"),
        (lambda folder: _card(folder, lambda card: card.update(clases=3)), "clases"),
        (lambda folder: _card(folder, lambda card: card.pop("architecture")), "architecture"),
        (lambda folder: _card(folder, lambda card: card.update(classes="36")), "classes"),
        (lambda folder: _card(folder, lambda card: card["preprocessing"].update(crop=9999)), "crop"),
        (lambda folder: _card(folder, lambda card: card["preprocessing"].update(crop=81)), "larger than resize"),
        (lambda folder: _card(folder, lambda card: card["preprocessing"].update(std=[0, 1, 1])), "positive"),
    ],
)
def test_an_incomplete_or_contradictory_folder_is_refused(
    folder: Path, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(folder)
    with pytest.raises(CheckpointError, match=said):
        read_checkpoint(folder, None)


def test_a_path_that_does_not_exist_is_refused_with_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.safetensors, labels\.txt"):
        read_checkpoint(tmp_path / "nothing", None)
