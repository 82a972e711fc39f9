"""How a computation is recorded, and when the recording is not used."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from inference import engine
from inference.checkpoint import Checkpoint, read_checkpoint
from inference.engine import Engine, Shape, choose_device, make_deterministic
from inference.network import build

SAMPLE = Path(__file__).resolve().parents[3] / "inference" / "sample"


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return read_checkpoint(SAMPLE, None)


def engine_of(checkpoint: Checkpoint, batch_size: int) -> Engine:
    make_deterministic(1)
    how = checkpoint.description.card.preprocess()
    return Engine(build(checkpoint), how, choose_device("cpu"), Shape(batch_size))


def noise(batch_size: int, seed: int) -> bytearray:
    pixels = torch.randint(0, 256, (batch_size * 72 * 72 * 3,), generator=torch.Generator().manual_seed(seed))
    return bytearray(pixels.byte().numpy().tobytes())


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(one.view(torch.int32), other.view(torch.int32))


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_a_replay_gives_the_bits_of_the_plain_computation_in_any_thread(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    recorded = engine_of(checkpoint, batch_size)
    monkeypatch.setattr(engine, "_TRACED_WEIGHTS", 0)
    plain = engine_of(checkpoint, batch_size)
    assert (recorded.recorded, plain.recorded) == (True, False)
    batches = [noise(batch_size, seed) for seed in range(12)]
    with ThreadPoolExecutor(3) as pool:
        replayed = list(pool.map(recorded.run, batches))
    assert all(same_bits(logits, plain.run(batch)) for logits, batch in zip(replayed, batches, strict=True))


def test_a_recording_that_is_off_by_one_bit_is_not_used(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    replay = engine._Trace.replay

    def spoilt(self: engine._Trace, batch: torch.Tensor) -> torch.Tensor:
        logits = replay(self, batch).clone()
        logits.view(torch.int32)[-1, -1] ^= 1
        return logits

    monkeypatch.setattr(engine._Trace, "replay", spoilt)
    assert not engine_of(checkpoint, 2).recorded
    assert [record.getMessage() for record in caplog.records] == ["no recording"]


def test_what_cannot_be_recorded_is_computed_plainly(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.jit, "trace")
    plain = engine_of(checkpoint, 1)
    assert not plain.recorded
    assert plain.run(noise(1, 0)).shape == (1, 36)
