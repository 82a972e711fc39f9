"""Any form of model → our folder: ``python -m inference pack SOURCE DEST``, checked by ``verify FOLDER``.

The same model gives the same bytes, and with them the same MODEL_SHA256, whoever packs it. A packed folder loads
without unpickling, and its weights are used where they lie.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from inference.card import CARD
from inference.checkpoint import LABELS, WEIGHTS, labels_text, read_checkpoint
from inference.errors import CheckpointError, HashMismatchError, SettingsError
from inference.manifest import MANIFEST, manifest_text, read_manifest
from inference.weights import header_of, layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

    from inference.weights import Dtype

_CHUNK: Final = 8 << 20


def pack(source: Path, destination: Path) -> str:
    """Write a model as a packed folder, which appears whole or not at all; return the SHA-256 of its weights.

    Raises SettingsError if the destination exists, CheckpointError if the source may not be served, OSError if the
    folder cannot be written.
    """
    if destination.exists():
        raise SettingsError(f"{destination} exists already; name a folder that is still to be made.")
    checkpoint = read_checkpoint(source, None)
    from inference.network import DTYPES, build

    description = checkpoint.description
    state = build(checkpoint).state_dict()
    names: dict[object, Dtype] = {dtype: name for name, dtype in DTYPES.items()}
    header, order = header_of({name: (names[tensor.dtype], tuple(tensor.shape)) for name, tensor in state.items()})
    destination.absolute().parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.absolute().parent))
    try:
        sums = {
            WEIGHTS: _write(staging / WEIGHTS, [header, *(_bytes(state[name]) for name in order)]),
            LABELS: _write(staging / LABELS, [labels_text(description.labels).encode("utf-8")]),
            CARD: _write(staging / CARD, [description.card.text().encode("utf-8")]),
        }
        _write(staging / MANIFEST, [manifest_text(sums).encode("ascii")])
        staging.chmod(0o755)
        _sync(staging)
        try:
            staging.rename(destination)
        except OSError as error:
            raise SettingsError(f"{destination} was made by somebody else meanwhile; nothing was written.") from error
        _sync(destination.absolute().parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return sums[WEIGHTS]


def verify(folder: Path) -> Iterator[str]:
    """Check a packed folder against its manifest; yield each file's name once its bytes are right.

    Raises HashMismatchError for a file that differs, CheckpointError for one that is missing or was not packed, and
    for a folder that is whole but no model.
    """
    sums = read_manifest(folder)
    if sums is None:
        raise CheckpointError(f"{folder} has no {MANIFEST}: it was not packed. `python -m inference pack` makes one.")
    strange = sorted(path.name for path in folder.iterdir() if path.name not in sums and path.name != MANIFEST)
    if strange:
        raise CheckpointError(f"{folder} holds what was not packed: {', '.join(strange[:5])}.")
    for name, sha256 in sums.items():
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise CheckpointError(f"Cannot read {folder / name}: {error.strerror}; {MANIFEST} lists it.") from error
        if found != sha256:
            raise HashMismatchError(
                f"{folder / name} is not the file that was packed: its sha256 is {found}, {MANIFEST} says {sha256}."
            )
        yield name
    checkpoint = read_checkpoint(folder, None)
    layout(checkpoint.weights, checkpoint.description.path)


def _bytes(tensor: Tensor) -> memoryview:
    import torch

    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")


def _write(path: Path, parts: Iterable[bytes | memoryview]) -> str:
    """Write a file that outlives a power cut; return its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in parts:
            view = memoryview(part).cast("B")
            for start in range(0, len(view), _CHUNK):
                digest.update(view[start : start + _CHUNK])
                file.write(view[start : start + _CHUNK])
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o644)
    return digest.hexdigest()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # a file system that cannot sync folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
