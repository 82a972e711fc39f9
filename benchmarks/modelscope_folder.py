"""A folder like ModelScope's ``iic/cv_resnest101_general_recognition``, with random weights.

    python -m benchmarks.modelscope_folder FOLDER [--classes 54092]

The real one cannot be had everywhere; this one has its file names, its tensors, its size, and what makes reading it
delicate: tensor names with ``module.`` before them, under ``state_dict``, and batch-norm statistics that are not those
of a fresh network. It recognises nothing, but different images get different labels.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import torch

from inference.resnest import RESNEST101, ResNeSt, ResNeStShape

CLASSES: Final = 54_092


def random_state(shape: ResNeStShape, classes: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return a state dict whose activations neither vanish nor explode; the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        wanted = ResNeSt(shape, classes).state_dict()

    def drawn(name: str, like: torch.Tensor) -> torch.Tensor:
        if not like.is_floating_point():
            return torch.tensor(1000)
        noise = torch.randn(like.shape, generator=generator)
        if name.endswith("running_var"):
            return noise.mul_(0.3).exp_()
        if like.ndim > 1:
            # A convolution makes up for the half that ReLU takes; the classifier keeps logits as small as usual ones.
            return noise.mul_(((2 if like.ndim > 2 else 0.05) / like[0].numel()) ** 0.5)
        if name.endswith("bn3.weight"):
            return noise.mul_(0.1).add_(0.3)  # what a block adds to its shortcut
        return noise.mul_(0.2).add_(1 if name.endswith("weight") else 0)

    return {name: drawn(name, like) for name, like in wanted.items()}


def write_modelscope_folder(
    folder: Path, *, classes: int = CLASSES, shape: ResNeStShape = RESNEST101, labels: int | None = None, seed: int = 0
) -> None:
    """Write ``pytorch_model.pt`` and ``meta_info.txt``, the latter with as many labels as classes unless told."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"module.{name}": tensor for name, tensor in random_state(shape, classes, seed).items()}
    torch.save({"state_dict": state}, folder / "pytorch_model.pt")
    lines = (f"{index}\t类别{index}\t{index % 97}\n" for index in range(classes if labels is None else labels))
    (folder / "meta_info.txt").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write a folder like ModelScope's, with random weights.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--classes", type=int, default=CLASSES)
    arguments = parser.parse_args()
    write_modelscope_folder(arguments.folder, classes=arguments.classes)
