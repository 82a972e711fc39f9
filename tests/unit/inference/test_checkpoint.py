from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inference.checkpoint import read_checkpoint, write_checkpoint
from inference.errors import CheckpointError, HashMismatchError
from inference.manifest import manifest_text

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


@pytest.fixture
def modelscope(tmp_path: Path) -> Path:
    """The files of a ModelScope folder; reading its words needs no tensors in it."""
    (tmp_path / "pytorch_model.pt").write_bytes(b"weights")
    (tmp_path / "meta_info.txt").write_text("0\t猫\tx\n1\t狗\n2\t 大 象 \r\n", encoding="utf-8", newline="")
    return tmp_path


def test_a_modelscope_folder_needs_no_card_and_has_its_labels_in_the_second_column(modelscope: Path) -> None:
    checkpoint = read_checkpoint(modelscope, None)
    assert checkpoint.format == "pickle"
    assert checkpoint.description.labels == ("猫", "狗", " 大 象 ")
    card = checkpoint.description.card
    assert card.architecture.model_dump() == {
        "family": "resnest",
        "blocks": (3, 4, 23, 3),
        "stem_width": 64,
        "width": 64,
    }
    assert (card.classes, card.preprocessing.resize, card.preprocessing.crop) == (3, 256, 224)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"meta_info\.txt:1 is empty"),
        (b"0\tcat\n\n2\tdog\n", r"meta_info\.txt:2 is empty"),
        (b"0\tcat\n1 dog\n", r"meta_info\.txt:2 has no label"),
        (b"0\tcat\n1\t\tdog\n", r"meta_info\.txt:2 has no label"),
        ("0\t狗".encode("gbk"), "not UTF-8"),
    ],
)
def test_a_meta_info_that_does_not_label_every_class_is_refused(modelscope: Path, content: bytes, said: str) -> None:
    (modelscope / "meta_info.txt").write_bytes(content)
    with pytest.raises(CheckpointError, match=said):
        read_checkpoint(modelscope, None)


def test_a_state_dict_of_any_name_needs_a_card(tmp_path: Path) -> None:
    (tmp_path / "resnet.pth").write_bytes(b"weights")
    with pytest.raises(CheckpointError, match=r"model\.json"):
        read_checkpoint(tmp_path, None)
    for name in ("labels.txt", "model.json"):
        shutil.copy(SAMPLE / name, tmp_path)
    assert read_checkpoint(tmp_path, None).format == "pickle"
    assert read_checkpoint(tmp_path / "resnet.pth", None).description.path == tmp_path / "resnet.pth"


def test_several_state_dicts_in_one_folder_are_not_guessed_between(tmp_path: Path) -> None:
    for name in ("a.pth", "b.pt"):
        (tmp_path / name).write_bytes(b"weights")
    with pytest.raises(CheckpointError, match=r"a\.pth, b\.pt.* must name the one"):
        read_checkpoint(tmp_path, None)


def test_every_file_is_checked_against_the_manifest_beside_it(folder: Path) -> None:
    names = ("labels.txt", "model.json", "model.safetensors")
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / "SHA256SUMS").write_text(manifest_text(sums))
    read_checkpoint(folder, None)
    for name in names:
        (folder / "SHA256SUMS").write_text(manifest_text(sums | {name: "0" * 64}))
        with pytest.raises(HashMismatchError, match=name):
            read_checkpoint(folder, None)
        (folder / "SHA256SUMS").write_text(manifest_text({key: value for key, value in sums.items() if key != name}))
        with pytest.raises(CheckpointError, match=rf"{name} is not in the SHA256SUMS"):
            read_checkpoint(folder, None)


def test_labels_and_card_are_part_of_the_facts_and_training_notes_are_not(folder: Path) -> None:
    facts = read_checkpoint(folder, None).description.facts()
    _card(folder, lambda card: card.pop("training"))
    assert read_checkpoint(folder, None).description.facts() == facts
    _card(folder, lambda card: card["preprocessing"].update(resize=81))
    assert read_checkpoint(folder, None).description.facts()["card"] != facts["card"]
    text = (folder / "labels.txt").read_text()
    (folder / "labels.txt").write_text(text.replace("红色", "紅色"))
    assert read_checkpoint(folder, None).description.facts()["labels"] != facts["labels"]
