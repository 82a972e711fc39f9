"""State dicts as people have them: pickled, wrapped, from torchvision, or not what they say they are."""

from __future__ import annotations

import io
import json
import pickle
from collections import OrderedDict
from typing import TYPE_CHECKING

import pytest
import torch

from benchmarks.modelscope_folder import random_state, write_modelscope_folder
from inference.card import ModelCard, PreprocessingCard, ResNeStArchitecture, TorchvisionArchitecture
from inference.checkpoint import labels_text, read_checkpoint
from inference.errors import CheckpointError
from inference.network import build, torchvision_version
from inference.predictor import Predictor
from inference.resnest import ResNeStShape

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TINY = ResNeStShape((1, 1, 1, 1), stem_width=4, width=4)
CLASSES = 5
PREPROCESSING = PreprocessingCard(resize=40, crop=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
PNG = io.BytesIO()


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return random_state(TINY, CLASSES)


def write(folder: Path, content: object, architecture: object = None, *, classes: int = CLASSES) -> Path:
    """Write a folder with a pickled state dict, its card and its labels."""
    if isinstance(content, bytes):
        (folder / "weights.pth").write_bytes(content)
    else:
        torch.save(content, folder / "weights.pth")
    (folder / "labels.txt").write_text(labels_text(tuple(f"类别{number}" for number in range(classes))))
    known = architecture or ResNeStArchitecture(blocks=TINY.blocks, stem_width=TINY.stem_width, width=TINY.width)
    card = ModelCard(name="tiny", architecture=known, classes=classes, preprocessing=PREPROCESSING)  # type: ignore[arg-type]
    (folder / "model.json").write_text(card.text())
    return folder


def test_wrappers_and_prefixes_do_not_change_what_is_loaded(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    forms = {
        "plain": state,
        "ordered": OrderedDict(state),
        "wrapped": {"state_dict": state, "epoch": 3},
        "parallel": {f"module.{name}": value for name, value in state.items()},
        "wrapped parallel": {"state_dict": {f"module.{name}": value for name, value in state.items()}},
        "parallel inside": {name.replace("layer1.", "layer1.module."): value for name, value in state.items()},
    }
    for name, form in forms.items():
        (folder := tmp_path / name).mkdir()
        loaded = build(read_checkpoint(write(folder, form), None)).state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in state.items()), name


def test_the_old_file_format_of_torch_is_read(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    out = io.BytesIO()
    torch.save(state, out, _use_new_zipfile_serialization=False)
    loaded = build(read_checkpoint(write(tmp_path, out.getvalue()), None)).state_dict()
    assert torch.equal(loaded["fc.weight"], state["fc.weight"])


class Evil:
    """Runs a command where it is unpickled without care."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        import os

        return os.system, (f"touch {MARK}",)


MARK = "the-code-of-a-pickle-ran"


def test_a_pickle_with_code_in_it_is_refused_by_name_and_not_run(
    tmp_path: Path, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, content in enumerate(({**state, "extra": Evil()}, {"state_dict": state, "hook": Evil()})):
        (folder := tmp_path / str(number)).mkdir()
        with pytest.raises(CheckpointError, match=r"weights\.pth is refused: .* would run code") as raised:
            build(read_checkpoint(write(folder, content), None))
        assert "system" in str(raised.value)
    (folder := tmp_path / "bare").mkdir()
    with pytest.raises(CheckpointError, match=r"weights\.pth"):
        build(read_checkpoint(write(folder, pickle.dumps(Evil())), None))
    assert not (tmp_path / MARK).exists()
    pickle.loads(pickle.dumps(Evil()))  # the trap does work
    assert (tmp_path / MARK).exists()


def test_a_whole_model_instead_of_its_state_dict_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="state_dict"):
        build(read_checkpoint(write(tmp_path, torch.nn.Linear(2, 2)), None))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "damaged"),
        (b"\x80", "damaged"),
        (b"PK\x03\x04 not a zip", "damaged"),
        (b"\xff" * 200, "refused|damaged"),
        ({}, "no state dict"),
        ([1, 2], "no state dict"),
        ({"a": 1}, "'a' is not the name of a dense tensor"),
        ({1: torch.zeros(1)}, "is not the name"),
        ({"a": torch.zeros(2, 2).to_sparse()}, "dense"),
        ({"a": torch.zeros(1), "module.a": torch.zeros(1)}, "twice"),
        (torch.zeros(3), "no state dict"),
    ],
)
def test_a_file_that_holds_no_state_dict_is_refused(tmp_path: Path, content: object, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        build(read_checkpoint(write(tmp_path, content), None))


def test_a_truncated_file_is_refused(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    out = io.BytesIO()
    torch.save(state, out)
    for share in (0.2, 0.6, 0.99):
        (folder := tmp_path / str(share)).mkdir()
        with pytest.raises(CheckpointError, match="damaged"):
            build(read_checkpoint(write(folder, out.getvalue()[: int(len(out.getvalue()) * share)]), None))


def test_labels_that_are_one_short_are_told_apart_from_a_wrong_network(tmp_path: Path) -> None:
    write_modelscope_folder(tmp_path, classes=7, labels=6)
    with pytest.raises(CheckpointError, match=r"meta_info\.txt has 6 labels, but the classifier in .* has 7 outputs"):
        build(read_checkpoint(tmp_path, None))


def test_a_modelscope_folder_with_a_shorter_network_is_refused(tmp_path: Path) -> None:
    write_modelscope_folder(tmp_path, classes=7, shape=ResNeStShape((3, 4, 22, 3), stem_width=64, width=64))
    with pytest.raises(CheckpointError, match=r"missing \(layer3\.22\.conv1\.weight"):
        build(read_checkpoint(tmp_path, None))


def test_a_torchvision_model_answers_as_torchvision_does(tmp_path: Path) -> None:
    from torchvision import models

    torch.manual_seed(1)
    model = models.get_model("shufflenet_v2_x0_5", weights=None, num_classes=CLASSES).eval()
    write(tmp_path, model.state_dict(), TorchvisionArchitecture(name="shufflenet_v2_x0_5"))
    checkpoint = read_checkpoint(tmp_path, None)
    predictor = Predictor(checkpoint, device="cpu", batch_size=1, threads=1, top_k=CLASSES)
    image = bytes(range(256)) * 12
    found = {entry["index"]: entry["logit"] for entry in predictor.compute([image])[0]["predictions"]}
    batch = torch.frombuffer(bytearray(image), dtype=torch.uint8).view(1, 32, 32, 3).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = model(batch.contiguous().float().div(255).sub(0.5).div(0.5))[0]
    assert [found[index] for index in range(CLASSES)] == pytest.approx(expected.tolist(), abs=1e-6)
    assert predictor.facts()["torchvision"] == torchvision_version(checkpoint.description.card) is not None


def test_a_network_that_transforms_its_input_is_told_so_by_the_card(tmp_path: Path) -> None:
    """Whether it has second classifiers, which are of no use here but are in the file, is seen from the file."""
    from torchvision import models

    model = models.get_model("googlenet", weights=None, num_classes=CLASSES, aux_logits=False, init_weights=False)
    write(tmp_path, model.state_dict(), TorchvisionArchitecture(name="googlenet", transform_input=True))
    assert build(read_checkpoint(tmp_path, None)).transform_input is True


def test_an_unknown_torchvision_model_is_refused_with_those_there_are(tmp_path: Path) -> None:
    write(tmp_path, {"a": torch.zeros(1)}, TorchvisionArchitecture(name="resnet51"))
    with pytest.raises(CheckpointError, match=r"no classifier 'resnet51'; it has resnet101, resnet152, resnet18"):
        build(read_checkpoint(tmp_path, None))


def test_a_detector_of_torchvision_is_no_classifier(tmp_path: Path) -> None:
    write(tmp_path, {"a": torch.zeros(1)}, TorchvisionArchitecture(name="fasterrcnn_resnet50_fpn"))
    with pytest.raises(CheckpointError, match="no classifier"):
        build(read_checkpoint(tmp_path, None))


@pytest.mark.parametrize(
    "architecture",
    [
        {"family": "torchvision", "name": "../../etc"},
        {"family": "torchvision", "name": "resnet50", "transform_input": True},
        {"family": "torchvision", "name": "inception_v3"},
        {"family": "keras", "name": "resnet50"},
        {"name": "resnet50"},
    ],
)
def test_a_card_with_an_architecture_that_cannot_be_is_refused(
    tmp_path: Path, architecture: dict[str, object], state: dict[str, torch.Tensor]
) -> None:
    card = json.loads((write(tmp_path, state) / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**card, "architecture": architecture}))
    with pytest.raises(CheckpointError, match=r"model\.json is not a valid model card: architecture"):
        read_checkpoint(tmp_path, None)
