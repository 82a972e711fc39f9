"""Trains the sample model on drawings: ``python -m inference train FOLDER``.

Everything is seeded and deterministic: the same torch version on the same kind of CPU writes the same weights, byte
for byte.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import torch
from safetensors.torch import save
from torch import Tensor, nn

from inference.card import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ModelCard,
    PreprocessingCard,
    ResNeStArchitecture,
    Training,
)
from inference.checkpoint import write_checkpoint
from inference.dataset import Dataset, draw_dataset
from inference.drawings import LABELS
from inference.errors import SettingsError
from inference.preprocess import Preprocessing
from inference.resnest import ResNeSt, ResNeStShape

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAME: Final = "resnest14-drawings"
SHAPE: Final = ResNeStShape(blocks=(1, 1, 1, 1), stem_width=8, width=16)
RESIZE: Final = 80
CROP: Final = 72
MEAN: Final = IMAGENET_MEAN
STD: Final = IMAGENET_STD

TRAINING_SERIES: Final = "train"
HELD_OUT_SERIES: Final = "held-out"


_FEWEST_STEPS: Final = 8  # the learning rate must have room to rise and fall


@dataclass(frozen=True)
class Recipe:
    """Knobs of the training; the defaults made the shipped sample model."""

    drawings: int = 18_000
    held_out: int = 3_600
    epochs: int = 9
    batch: int = 64
    peak_rate: float = 6e-3
    weight_decay: float = 0.05
    smoothing: float = 0.05
    seed: int = 20_240
    threads: int = 2


def train(folder: Path, recipe: Recipe, say: Callable[[str], None]) -> float:
    """Draw, train, measure on held-out drawings, write the model folder; returns the held-out accuracy (0–1).

    Raises SettingsError for a recipe with too few steps.
    """
    if recipe.drawings // recipe.batch * recipe.epochs < _FEWEST_STEPS:
        raise SettingsError(
            f"{recipe.drawings} drawings and {recipe.epochs} epochs are too few to train on: "
            f"at least {_FEWEST_STEPS} batches of {recipe.batch} are needed."
        )
    started = time.monotonic()
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    torch.set_deterministic_debug_mode("error")
    # The square that random crops are taken from; evaluation cuts its centre, exactly as the server does.
    square = Preprocessing(resize=RESIZE, crop=RESIZE, mean=MEAN, std=STD)
    exact = Preprocessing(resize=RESIZE, crop=CROP, mean=MEAN, std=STD)
    training = draw_dataset(TRAINING_SERIES, recipe.drawings, square, recipe.threads)
    held_out = draw_dataset(HELD_OUT_SERIES, recipe.held_out, exact, recipe.threads)
    say(f"drew {training.count + held_out.count} pictures in {time.monotonic() - started:.0f} s")
    model = ResNeSt(SHAPE, len(LABELS)).to(memory_format=torch.channels_last)
    _fit(model, training, recipe, say)
    accuracy = measure(model, held_out)
    seconds = time.monotonic() - started
    say(f"held-out accuracy {accuracy:.4f} on {held_out.count} drawings after {seconds:.0f} s")
    card = ModelCard(
        name=NAME,
        architecture=ResNeStArchitecture(blocks=SHAPE.blocks, stem_width=SHAPE.stem_width, width=SHAPE.width),
        classes=len(LABELS),
        preprocessing=PreprocessingCard(resize=RESIZE, crop=CROP, mean=MEAN, std=STD),
        training=Training(
            command="python -m inference train",
            date=datetime.now(UTC).date().isoformat(),
            drawings=recipe.drawings,
            epochs=recipe.epochs,
            seed=recipe.seed,
            seconds=round(seconds, 1),
            held_out=held_out.count,
            accuracy=round(accuracy, 5),
            torch=torch.__version__,
        ),
    )
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    write_checkpoint(folder, save(state), LABELS, card)
    return accuracy


def measure(model: nn.Module, data: Dataset) -> float:
    """Return the share of pictures whose highest logit is the right class."""
    images, classes = tensors(data)
    model.eval()
    with torch.inference_mode():
        right = sum(
            int((model(normalise(images[start : start + 100])).argmax(1) == classes[start : start + 100]).sum())
            for start in range(0, data.count, 100)
        )
    return right / data.count


def tensors(data: Dataset) -> tuple[Tensor, Tensor]:
    """Images as (N, 3, side, side) uint8 and classes as (N,) int64."""
    flat = torch.frombuffer(bytearray(data.pixels), dtype=torch.uint8)
    images = flat.view(data.count, data.side, data.side, 3).permute(0, 3, 1, 2)
    return images, torch.tensor(data.classes)


def normalise(images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) → float, scaled to 0–1, then standardised per channel; channels last, which trains faster."""
    mean = torch.tensor(MEAN).view(1, 3, 1, 1)
    std = torch.tensor(STD).view(1, 3, 1, 1)
    scaled = (images.float().div(255) - mean) / std
    return scaled.contiguous(memory_format=torch.channels_last)


def _fit(model: nn.Module, data: Dataset, recipe: Recipe, say: Callable[[str], None]) -> None:
    images, classes = tensors(data)
    steps = data.count // recipe.batch
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    plain = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=recipe.peak_rate,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.peak_rate, total_steps=steps * recipe.epochs, pct_start=0.25
    )
    loss_of = nn.CrossEntropyLoss(label_smoothing=recipe.smoothing)
    for epoch in range(1, recipe.epochs + 1):
        started = time.monotonic()
        model.train()
        order = torch.randperm(data.count)
        total = 0.0
        for step in range(steps):
            chosen = order[step * recipe.batch : (step + 1) * recipe.batch]
            loss = loss_of(model(normalise(_vary(images[chosen]))), classes[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        say(f"epoch {epoch}/{recipe.epochs}: loss {total / steps:.3f}, {time.monotonic() - started:.0f} s")


def _vary(batch: Tensor) -> Tensor:
    """Cut, mirror and turn a batch by a random multiple of 90°: no class changes by that."""
    top, left = (int(value) for value in torch.randint(0, RESIZE - CROP + 1, (2,)))
    batch = batch[:, :, top : top + CROP, left : left + CROP]
    flips = int(torch.randint(0, 8, (1,)))
    if flips & 1:
        batch = batch.flip(3)
    if flips & 2:
        batch = batch.flip(2)
    return batch.transpose(2, 3) if flips & 4 else batch
