from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import torch
from safetensors.torch import load_file

from benchmarks.modelscope_folder import random_state
from inference.answer import canonical_json
from inference.card import ModelCard, ResNeStArchitecture, modelscope_card
from inference.checkpoint import labels_text, read_checkpoint
from inference.errors import CheckpointError, HashMismatchError, SettingsError
from inference.pack import pack, verify
from inference.predictor import Predictor
from inference.resnest import ResNeStShape
from inference.weights import ALIGNMENT, layout

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from conftest import ServerProcess

SAMPLE = Path(__file__).resolve().parents[3] / "inference" / "sample"
TINY = ResNeStShape((1, 1, 1, 1), stem_width=8, width=8)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pickled model as ModelScope would have it, but tiny: its card says so."""
    folder = tmp_path_factory.mktemp("source")
    state = random_state(TINY, 7)
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, folder / "pytorch_model.pt")
    (folder / "labels.txt").write_text(labels_text(tuple("甲乙丙丁戊己庚")))
    architecture = ResNeStArchitecture(blocks=TINY.blocks, stem_width=TINY.stem_width, width=TINY.width)
    card = modelscope_card(7)
    fields = {"name": "tiny", "architecture": architecture, "classes": 7, "preprocessing": card.preprocessing}
    (folder / "model.json").write_text(ModelCard(**fields).text())
    return folder


@pytest.fixture
def packed(source: Path, tmp_path: Path) -> Path:
    pack(source, tmp_path / "packed")
    return tmp_path / "packed"


def answers(folder: Path, images: list[Path]) -> list[bytes]:
    predictor = Predictor(read_checkpoint(folder, None), device="cpu", batch_size=1, threads=1, top_k=3)
    return [canonical_json({**predictor.predict_image(image)}) for image in images]


def test_a_packed_model_answers_with_the_bytes_of_its_source(source: Path, packed: Path, golden: list[Path]) -> None:
    for before, after in ((source, packed), (SAMPLE, packed.with_name("sample"))):
        if not after.exists():
            pack(before, after)
        assert answers(before, golden[:6]) == answers(after, golden[:6])
        described, repacked = read_checkpoint(before, None).description, read_checkpoint(after, None).description
        assert described.facts() == repacked.facts()


def test_the_same_model_gives_the_same_bytes(source: Path, packed: Path, tmp_path: Path) -> None:
    pack(packed, tmp_path / "again")
    pack(source, tmp_path / "anew")
    for name in (path.name for path in packed.iterdir()):
        for other in ("again", "anew"):
            assert (tmp_path / other / name).read_bytes() == (packed / name).read_bytes()


def test_a_packed_folder_is_read_by_the_library_and_used_where_it_lies(source: Path, packed: Path) -> None:
    state = torch.load(source / "pytorch_model.pt", weights_only=True)["state_dict"]
    found = load_file(packed / "model.safetensors")
    assert found.keys() == {name.removeprefix("module.") for name in state}
    assert all(torch.equal(found[name.removeprefix("module.")], value) for name, value in state.items())
    pack(SAMPLE, packed.with_name("sample"))
    placed = layout(read_checkpoint(packed.with_name("sample"), None).weights, packed)
    aligned = sum(entry.stop - entry.start for entry in placed.values() if entry.start % ALIGNMENT == 0)
    assert aligned > 0.95 * sum(entry.stop - entry.start for entry in placed.values())


def test_the_hash_that_pack_returns_is_that_of_the_weights(source: Path, tmp_path: Path) -> None:
    sha256 = pack(source, tmp_path / "new" / "model")
    assert sha256 == hashlib.sha256((tmp_path / "new" / "model" / "model.safetensors").read_bytes()).hexdigest()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model"]
    assert (tmp_path / "new" / "model").stat().st_mode & 0o777 == 0o755


def test_a_destination_that_exists_is_left_alone(source: Path, packed: Path) -> None:
    before = sorted(packed.iterdir())
    with pytest.raises(SettingsError, match="exists already"):
        pack(source, packed)
    assert sorted(packed.iterdir()) == before


def test_a_source_that_may_not_be_served_leaves_nothing_behind(source: Path, tmp_path: Path) -> None:
    spoilt = Path(shutil.copytree(source, tmp_path / "spoilt"))
    (spoilt / "labels.txt").write_text(labels_text(tuple("甲乙丙丁戊己")))
    with pytest.raises(CheckpointError, match="6 labels"):
        pack(spoilt, tmp_path / "out" / "model")
    assert not (tmp_path / "out").exists()


def test_a_failure_while_writing_leaves_nothing_behind(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        pack(source, tmp_path / "out" / "model")
    assert list((tmp_path / "out").iterdir()) == []


def test_verify_names_every_file_of_a_whole_folder(packed: Path) -> None:
    assert list(verify(packed)) == ["labels.txt", "model.json", "model.safetensors"]


def _flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (lambda folder: _flip(folder / "model.safetensors", -1), HashMismatchError, "model.safetensors"),
        (lambda folder: _flip(folder / "model.safetensors", 0), HashMismatchError, "model.safetensors"),
        (lambda folder: _flip(folder / "labels.txt", 0), HashMismatchError, "labels.txt"),
        (lambda folder: _flip(folder / "model.json", 5), HashMismatchError, "model.json"),
        (lambda folder: (folder / "labels.txt").unlink(), CheckpointError, "Cannot read .*labels.txt"),
        (lambda folder: (folder / "SHA256SUMS").unlink(), CheckpointError, "was not packed"),
        (lambda folder: (folder / "more.txt").touch(), CheckpointError, "not packed: more.txt"),
        (lambda folder: (folder / "SHA256SUMS").write_text("junk"), CheckpointError, "SHA256SUMS:1"),
    ],
)
def test_verify_refuses_whatever_is_not_as_it_was_packed(
    packed: Path, spoil: Callable[[Path], object], error: type[Exception], said: str
) -> None:
    spoil(packed)
    with pytest.raises(error, match=said):
        list(verify(packed))


def test_a_manifest_over_damaged_weights_does_not_hide_the_damage(packed: Path) -> None:
    weights = packed / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    sums = (packed / "SHA256SUMS").read_text().splitlines()[:-1]
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    (packed / "SHA256SUMS").write_text("\n".join([*sums, f"{found}  model.safetensors"]) + "\n")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        list(verify(packed))


def test_the_commands_pack_verify_serve_and_predict_agree(
    source: Path,
    tmp_path: Path,
    golden: list[Path],
    inference: Callable[..., subprocess.CompletedProcess[bytes]],
    serving: Callable[..., AbstractContextManager[ServerProcess]],
) -> None:
    done = inference("pack", str(source), str(tmp_path / "packed"))
    assert done.returncode == 0, done.stderr
    name, sha256 = done.stdout.decode().strip().split("=")
    assert name == "MODEL_SHA256"
    done = inference("verify", str(tmp_path / "packed"))
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 3)
    variables = {"MODEL_PATH": str(tmp_path / "packed"), "MODEL_SHA256": sha256}
    printed = inference("predict", *map(str, golden[:3]), **variables).stdout.splitlines()
    with serving(**variables) as server:
        server.wait_ready()
        for image, line in zip(golden[:3], printed, strict=True):
            response = httpx.post(f"{server.url}/predict", files={"file": image.read_bytes()}, timeout=30)
            assert response.content == line
            assert response.headers["x-model-sha256"] == sha256
        info = httpx.get(f"{server.url}/info").json()
        assert info["model"]["classes"] == 7
        assert info["fingerprint"]["labels"] == read_checkpoint(tmp_path / "packed", None).description.facts()["labels"]


class Evil:
    """Would write to stderr where it is unpickled without care."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("echo the code ran >&2",)


def _hide_code(folder: Path) -> None:
    state = torch.load(folder / "pytorch_model.pt", weights_only=True)
    torch.save({**state, "hook": Evil()}, folder / "pytorch_model.pt")


def _drop_a_label(folder: Path) -> None:
    lines = (folder / "labels.txt").read_text().splitlines()[:-1]
    (folder / "labels.txt").write_text("\n".join(lines) + "\n")
    card = (folder / "model.json").read_text()
    (folder / "model.json").write_text(card.replace('"classes": 7', '"classes": 6'))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(_hide_code, "would run code"), (_drop_a_label, "has 6 labels, but the classifier in .* has 7 outputs")],
)
def test_a_model_that_may_not_be_served_ends_the_server_with_the_reason(
    source: Path,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    said: str,
    serving: Callable[..., AbstractContextManager[ServerProcess]],
) -> None:
    spoil(spoilt := Path(shutil.copytree(source, tmp_path / "spoilt")))
    with serving(MODEL_PATH=str(spoilt)) as server:
        assert server.process.wait(30) == 3
    stderr = "".join(server.stderr)
    assert re.search(said, stderr)
    assert "Traceback" not in stderr
    assert "the code ran" not in stderr


def test_commands_say_in_one_sentence_what_is_wrong(
    tmp_path: Path, inference: Callable[..., subprocess.CompletedProcess[bytes]]
) -> None:
    for arguments, code in (
        (("pack", str(tmp_path / "none"), str(tmp_path / "out")), 3),
        (("pack", str(SAMPLE), str(tmp_path)), 2),
        (("verify", str(SAMPLE)), 3),
        (("verify", str(tmp_path / "none")), 3),
        (("pack", str(SAMPLE), "/proc/model"), 1),
    ):
        done = inference(*arguments)
        assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
        assert b"Traceback" not in done.stderr
