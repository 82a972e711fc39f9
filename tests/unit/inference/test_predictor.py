from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load, save

from inference.answer import canonical_json
from inference.checkpoint import Checkpoint, read_checkpoint
from inference.errors import CheckpointError, DeviceError, ImageError
from inference.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLE = Path(__file__).resolve().parents[3] / "inference" / "sample"


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return read_checkpoint(SAMPLE, None)


def predictor_of(checkpoint: Checkpoint, *, batch_size: int = 1, top_k: int = 5) -> Predictor:
    return Predictor(checkpoint, device="cpu", batch_size=batch_size, threads=1, top_k=top_k)


def with_weights(checkpoint: Checkpoint, change: Callable[[dict[str, torch.Tensor]], object]) -> Checkpoint:
    state = load(bytes(checkpoint.weights))
    change(state)
    return dataclasses.replace(checkpoint, weights=save(state))


def test_a_path_and_its_bytes_get_the_same_answer(checkpoint: Checkpoint, golden: list[Path]) -> None:
    predictor = predictor_of(checkpoint)
    assert predictor.predict_image(golden[0]) == predictor.predict_image(golden[0].read_bytes())


def test_an_answer_has_top_k_classes_by_falling_logit_with_scores_of_a_softmax(
    checkpoint: Checkpoint, golden: list[Path]
) -> None:
    predictions = predictor_of(checkpoint, top_k=1000).predict_image(golden[0])["predictions"]
    assert len(predictions) == checkpoint.description.card.classes
    logits = [prediction["logit"] for prediction in predictions]
    assert logits == sorted(logits, reverse=True)
    assert sum(prediction["score"] for prediction in predictions) == pytest.approx(1.0)
    assert {prediction["label"] for prediction in predictions} == set(checkpoint.description.labels)
    assert len(predictor_of(checkpoint, top_k=3).predict_image(golden[0])["predictions"]) == 3


def test_equal_logits_are_ordered_by_class_index(checkpoint: Checkpoint, golden: list[Path]) -> None:
    def flatten(state: dict[str, torch.Tensor]) -> None:
        state["fc.weight"].zero_()
        state["fc.bias"].zero_()
        state["fc.bias"][7] = 1

    tied = with_weights(checkpoint, flatten)
    predictions = predictor_of(tied, top_k=6).predict_image(golden[0])["predictions"]
    assert [prediction["index"] for prediction in predictions] == [7, 0, 1, 2, 3, 4]


def test_an_answer_does_not_depend_on_slot_neighbours_or_padding(checkpoint: Checkpoint, golden: list[Path]) -> None:
    predictor = predictor_of(checkpoint, batch_size=4)
    prepared = [predictor.prepare(path.read_bytes()) for path in golden[:12]]
    alone = [canonical_json({**predictor.compute([image])[0]}) for image in prepared]
    for fill in (2, 3, 4):
        for start in range(len(prepared)):
            chosen = [(start + step) % len(prepared) for step in range(fill)]
            answers = predictor.compute([prepared[number] for number in chosen])
            assert [canonical_json({**answer}) for answer in answers] == [alone[number] for number in chosen]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("fc.bias"), r"1 missing \(fc\.bias\)"),
        (lambda state: state.update(extra=torch.zeros(1)), r"1 not in the architecture \(extra\)"),
        (
            lambda state: state.update({"fc.bias": torch.zeros(35)}),
            r"fc\.bias float32\(35,\) instead of float32\(36,\)",
        ),
        (
            lambda state: state.update({"fc.bias": torch.zeros(36, dtype=torch.int32)}),
            r"fc\.bias int32\(36,\) instead of float32\(36,\)",
        ),
        (
            lambda state: [state.pop(f"layer{n}.0.conv{k}.weight") for n in (1, 2, 3) for k in (1, 3)],
            r"6 missing \(.*, …\)",
        ),
        (
            lambda state: state.update({"fc.bias": torch.zeros(37), "fc.weight": torch.zeros(37, 512)}),
            r"labels\.txt has 36 labels, but the classifier in .* has 37 outputs",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(
    checkpoint: Checkpoint, change: Callable[[dict[str, torch.Tensor]], object], said: str
) -> None:
    with pytest.raises(CheckpointError, match=said):
        predictor_of(with_weights(checkpoint, change))


def test_counters_that_old_files_lack_are_not_missed(checkpoint: Checkpoint, golden: list[Path]) -> None:
    def forget(state: dict[str, torch.Tensor]) -> None:
        for name in [name for name in state if name.endswith("num_batches_tracked")]:
            del state[name]

    old = with_weights(checkpoint, forget)
    assert predictor_of(old).predict_image(golden[0]) == predictor_of(checkpoint).predict_image(golden[0])


def test_weights_that_compute_no_finite_numbers_are_noticed(checkpoint: Checkpoint, golden: list[Path]) -> None:
    spoilt = with_weights(checkpoint, lambda state: state["conv1.0.weight"].fill_(float("nan")))
    with pytest.raises(DeviceError, match="not finite"):
        predictor_of(spoilt).predict_image(golden[0])


@pytest.mark.parametrize("data", [b"", b"\x80\x04cos\nsystem\n", b"\xff" * 64])
def test_a_file_that_is_not_safetensors_is_refused(checkpoint: Checkpoint, data: bytes) -> None:
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        predictor_of(dataclasses.replace(checkpoint, weights=data))


def test_a_truncated_weights_file_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        predictor_of(dataclasses.replace(checkpoint, weights=checkpoint.weights[:-1]))


def test_a_missing_device_is_said(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="no CUDA device"):
        Predictor(checkpoint, device="cuda", batch_size=None, threads=1, top_k=5)


def test_a_failing_device_is_told_apart_from_a_bad_image(checkpoint: Checkpoint, golden: list[Path]) -> None:
    predictor = predictor_of(checkpoint)
    with pytest.raises(ImageError):
        predictor.predict_image(b"junk")

    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered\nlong native trace")

    predictor._engine._logits = fail  # type: ignore[method-assign]
    with pytest.raises(DeviceError) as raised:
        predictor.predict_image(golden[0])
    assert "device-side assert" in str(raised.value)
    assert "native trace" not in str(raised.value)


def test_the_facts_name_what_can_change_the_bits(checkpoint: Checkpoint) -> None:
    facts = predictor_of(checkpoint, batch_size=4).facts()
    assert (facts["batch_size"], facts["threads"], facts["deterministic"], facts["tf32"]) == (4, 1, True, False)
    assert facts["torch"] == torch.__version__
