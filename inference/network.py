"""Weights → the network that computes with them: names and shapes are compared before anything is loaded.

Strict: every tensor of the architecture is there, none is left over, every shape and type is right. One exception: the
counters ``num_batches_tracked`` may be missing, because PyTorch before 0.4.1 did not save them, and nothing here reads
them.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from inference.card import TorchvisionArchitecture
from inference.errors import CheckpointError
from inference.resnest import ResNeSt, ResNeStShape
from inference.weights import ALIGNMENT, Dtype, Placed, layout

if TYPE_CHECKING:
    from pathlib import Path

    from inference.card import ModelCard
    from inference.checkpoint import Checkpoint

DTYPES: Final[Mapping[Dtype, torch.dtype]] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

_NAMED: Final = 5  # how many wrong tensors a message names
_COUNTER: Final = "num_batches_tracked"


def build(checkpoint: Checkpoint) -> nn.Module:
    """Return the network of a checkpoint on the CPU, ready to compute.

    Raises CheckpointError if the weights cannot be read safely, or do not fit the card.
    """
    card = checkpoint.description.card
    state = tensors(checkpoint)
    model = _network(card, frozenset(state))
    wanted = model.state_dict()
    _refuse_misfits(checkpoint, state, wanted)
    # Some CPU kernels choose by alignment: without a fixed one, the last bits of an answer would depend on where a
    # process, or a format, happened to put the weights.
    for name, like in wanted.items():
        tensor = state[name] if name in state else torch.zeros(like.shape, dtype=like.dtype)
        wanted[name] = tensor if tensor.data_ptr() % ALIGNMENT == 0 else tensor.clone()
    # Given back in the mapping it came in, which also says of which version each part is: a few networks ask.
    model.load_state_dict(wanted, strict=True, assign=True)
    return model.requires_grad_(requires_grad=False).eval()


def tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by the names that the architecture uses.

    Raises CheckpointError if the file is damaged, or holds anything else than tensors.
    """
    path = checkpoint.description.path
    if checkpoint.format == "pickle":
        return _named(_unpickle(checkpoint.weights, path), path)
    data = memoryview(checkpoint.weights)
    placed = layout(data, path)
    if data.readonly:
        data = memoryview(bytearray(data))
    return {name: _tensor(data, entry) for name, entry in placed.items()}


def torchvision_version(card: ModelCard) -> str | None:
    """Return the version of torchvision if it defines this model, None if it takes no part."""
    if not isinstance(card.architecture, TorchvisionArchitecture):
        return None
    import torchvision

    return str(torchvision.__version__)


@dataclass(frozen=True)
class _Misfit:
    missing: list[str]
    unexpected: list[str]
    shapes: list[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.shapes)

    def __str__(self) -> str:
        parts = (
            ("missing", self.missing),
            ("not in the architecture", self.unexpected),
            ("of another shape or type", self.shapes),
        )
        return "; ".join(
            f"{len(names)} {what} ({', '.join(names[:_NAMED])}{', …' if len(names) > _NAMED else ''})"
            for what, names in parts
            if names
        )


def _refuse_misfits(checkpoint: Checkpoint, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    description = checkpoint.description
    missing = [name for name in wanted if name not in state and not name.endswith(_COUNTER)]
    unexpected = [name for name in state if name not in wanted]
    differing = [name for name in wanted if name in state and _describe(state[name]) != _describe(wanted[name])]
    labels = len(description.labels)
    outputs = {len(state[name]) for name in differing if _other_outputs(state[name], wanted[name], labels)}
    whole = any(wanted[name].ndim > 1 for name in differing)  # a matrix, not its bias alone
    if len(outputs) == 1 and whole and not missing and not unexpected:
        raise CheckpointError(
            f"{description.labels_path} has {labels} labels, but the classifier in {description.path} "
            f"has {outputs.pop()} outputs ({', '.join(differing[:_NAMED])}): they are not of the same model."
        )
    misfit = _Misfit(
        missing,
        unexpected,
        [f"{name} {_describe(state[name])} instead of {_describe(wanted[name])}" for name in differing],
    )
    if misfit:
        raise CheckpointError(
            f"{description.path} does not fit the architecture {description.card.name} of its card: tensors {misfit}."
        )


def _other_outputs(found: Tensor, wanted: Tensor, labels: int) -> bool:
    """Tell whether two tensors differ only in the number of classes, their first dimension."""
    same = found.ndim == wanted.ndim > 0 and found.shape[1:] == wanted.shape[1:] and found.dtype == wanted.dtype
    return same and len(wanted) == labels != len(found)


def _network(card: ModelCard, names: frozenset[str]) -> nn.Module:
    """Return the network of a card; its tensors are all replaced afterwards."""
    architecture = card.architecture
    if isinstance(architecture, TorchvisionArchitecture):
        # With memory behind it: some of torchvision's networks compute with tensors while they are made.
        return _torchvision(architecture, card.classes, names)
    with torch.device("meta"):
        return ResNeSt(ResNeStShape(architecture.blocks, architecture.stem_width, architecture.width), card.classes)


def _torchvision(architecture: TorchvisionArchitecture, classes: int, names: frozenset[str]) -> nn.Module:
    # Its import takes seconds; only a model that needs it pays.
    from torchvision import models

    known = models.list_models(module=models)
    if architecture.name not in known:
        similar = [name for name in known if name[:6] == architecture.name[:6]][:8] or known[:8]
        raise CheckpointError(
            f"torchvision has no classifier {architecture.name!r}; it has {', '.join(similar)}, … "
            "Correct architecture.name in model.json."
        )
    if architecture.transform_input is None:
        model = models.get_model(architecture.name, weights=None, num_classes=classes)
    else:
        model = models.get_model(
            architecture.name,
            weights=None,
            num_classes=classes,
            transform_input=architecture.transform_input,
            aux_logits=any(name.lower().startswith("aux") for name in names),
            init_weights=False,
        )
    if not isinstance(model, nn.Module):
        raise CheckpointError(f"torchvision's {architecture.name} is not a network.")
    return model


def _unpickle(data: memoryview | bytes, path: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of, such as sparse tensors, is refused below
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"(?:GLOBAL|class|function) ([\w.]+)", str(error))
        raise CheckpointError(
            f"{path} is refused: it holds {f'the Python object {named[1]}' if named else 'something'} where only "
            "tensors may be, and loading it would run code. Save the model's state_dict() alone."
        ) from error
    except Exception as error:  # a reader fed with damaged bytes can raise anything
        raise CheckpointError(
            f"{path} is damaged, or no file that torch.save wrote ({type(error).__name__})."
        ) from error


def _named(found: object, path: Path) -> dict[str, Tensor]:
    """Return a state dict out of what a file held: unwrapped, and without what DataParallel put before the names."""
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not found:
        raise CheckpointError(f"{path} holds no state dict: names and their tensors, at the top or under `state_dict`.")
    state: dict[str, Tensor] = {}
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Tensor) or value.layout != torch.strided:
            raise CheckpointError(f"{path} holds no state dict: {str(key)[:80]!r} is not the name of a dense tensor.")
        name = key.removeprefix("module.").replace(".module.", ".")
        if name in state:
            raise CheckpointError(f"{path} holds the tensor {name} twice, with and without `module.` in its name.")
        state[name] = value.detach().contiguous()
    return state


def _tensor(data: memoryview, placed: Placed) -> Tensor:
    """Return a tensor where it lies in a file, without a copy."""
    dtype = DTYPES[placed.dtype]
    if placed.start == placed.stop:  # frombuffer refuses to take nothing
        return torch.empty(placed.shape, dtype=dtype)
    count = math.prod(placed.shape)
    if placed.start % dtype.itemsize:
        data, start = memoryview(bytearray(data[placed.start : placed.stop])), 0
    else:
        start = placed.start
    return torch.frombuffer(data, dtype=dtype, count=count, offset=start).view(placed.shape)


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{tuple(tensor.shape)}"
