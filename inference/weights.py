"""Files of weights as bytes: read once into memory that tensors can lie in, hashed on the way, needing no PyTorch.

The format of ``model.safetensors`` (https://github.com/huggingface/safetensors#format) is 8 bytes with the length of a
header, little-endian; the header, JSON: tensor name → dtype, shape, and the first and the next byte after the header;
then the bytes of all tensors without a gap. It is read here, not by its library, because the library copies every
tensor out of a buffer, and reads files itself: then what is loaded need not be what was hashed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from inference.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

ALIGNMENT: Final = 64  # bytes; where PyTorch puts tensors of its own

Dtype = Literal["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"]
ITEM_SIZE: Final[Mapping[Dtype, int]] = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}

# Large, because beside the import of PyTorch each chunk waits for Python's lock, several milliseconds every time.
_CHUNK: Final = 16 << 20
_LENGTH: Final = 8
_LONGEST_HEADER: Final = 100_000_000  # as in the library


@dataclass(frozen=True)
class Placed:
    """Where one tensor lies: ``start`` and ``stop`` are offsets into the file."""

    dtype: Dtype
    shape: tuple[int, ...]
    start: int
    stop: int


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    dtype: Dtype
    shape: tuple[int, ...] = Field(strict=False)
    data_offsets: tuple[int, int] = Field(strict=False)


_HEADER: Final = TypeAdapter(dict[str, _Entry])


def read_hashed(path: Path, on_progress: Callable[[float], None]) -> tuple[memoryview, str]:
    """Read a file into memory that starts at a page; return it with its SHA-256 in hexadecimal.

    ``on_progress`` gets the share that was read, 0 to 1. Raises OSError, or CheckpointError if the file changes its
    size meanwhile.
    """
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        size = file.seek(0, 2)
        file.seek(0)
        view = _memory(size)
        done = 0
        while done < size:
            count = file.readinto(view[done : min(done + _CHUNK, size)])
            if not count:
                break
            digest.update(view[done : done + count])
            done += count
            on_progress(done / size)
        if done < size or file.read(1):
            raise CheckpointError(f"{path} changed while it was read; start again when it is complete.")
    return view, digest.hexdigest()


def layout(data: memoryview | bytes, path: Path) -> dict[str, Placed]:
    """Return where each tensor of a safetensors file lies, by name; ``path`` is only for messages.

    Raises CheckpointError if the file is not one, or not whole.
    """
    try:
        return _layout(memoryview(data))
    except (ValueError, RecursionError) as error:  # pydantic's ValidationError is a ValueError
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise CheckpointError(f"{path} is not a readable safetensors file: {reason}.") from error


def header_of(tensors: Mapping[str, tuple[Dtype, tuple[int, ...]]]) -> tuple[bytes, list[str]]:
    """Return length and header of a safetensors file, and the order in which the tensors follow.

    The same tensors give the same bytes. Those whose size is a multiple of ALIGNMENT come first, and the header is
    padded, so that (nearly) every tensor begins at a multiple of it and can be used where it lies.
    """
    sizes = {name: ITEM_SIZE[dtype] * math.prod(shape) for name, (dtype, shape) in tensors.items()}
    order = sorted(tensors, key=lambda name: (sizes[name] % ALIGNMENT != 0, -ITEM_SIZE[tensors[name][0]], name))
    entries: dict[str, object] = {}
    offset = 0
    for name in order:
        dtype, shape = tensors[name]
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + sizes[name]]}
        offset += sizes[name]
    header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    header += b" " * (-(_LENGTH + len(header)) % ALIGNMENT)
    return len(header).to_bytes(_LENGTH, "little") + header, order


def _memory(size: int) -> memoryview:
    if size == 0:
        return memoryview(b"")
    memory = mmap.mmap(-1, size)
    with contextlib.suppress(OSError):  # a kernel without transparent huge pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(memory)


def _layout(data: memoryview) -> dict[str, Placed]:
    length = int.from_bytes(data[:_LENGTH], "little")
    begin = _LENGTH + length
    if len(data) < _LENGTH or length > min(len(data) - _LENGTH, _LONGEST_HEADER):
        raise ValueError("it is cut off in its header, or something else altogether")
    header = json.loads(bytes(data[_LENGTH:begin]), object_pairs_hook=_without_repeats)
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")  # noqa: TRY004 - wrong content, not a wrong argument
    header.pop("__metadata__", None)
    entries = _HEADER.validate_python(header)
    placed = {
        name: Placed(entry.dtype, entry.shape, begin + entry.data_offsets[0], begin + entry.data_offsets[1])
        for name, entry in entries.items()
    }
    expected = begin
    for name, tensor in sorted(placed.items(), key=lambda item: (item[1].start, item[1].stop)):
        size = ITEM_SIZE[tensor.dtype] * math.prod(tensor.shape)
        if min(tensor.shape, default=0) < 0 or tensor.start != expected or tensor.stop != tensor.start + size:
            raise ValueError(f"the place of tensor {name[:80]} does not fit its shape, or its neighbour's")
        expected = tensor.stop
    if expected != len(data):
        raise ValueError(f"its header describes {expected} bytes, but the file has {len(data)}")
    return placed


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("its header names something twice")
    return found
