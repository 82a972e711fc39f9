from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from inference.errors import CheckpointError
from inference.network import DTYPES, build, tensors
from inference.weights import ALIGNMENT, header_of, layout, read_hashed

NOWHERE = Path("x.safetensors")


def file_of(entries: object, data: bytes = b"") -> bytes:
    header = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return len(header).to_bytes(8, "little") + header + data


def entry(start: int, stop: int, shape: list[int], dtype: str = "U8") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize("size", [0, 1, 4096, (16 << 20) - 1, 16 << 20, (33 << 20) + 5])
def test_a_file_is_read_whole_and_hashed_as_sha256sum_would(tmp_path: Path, size: int) -> None:
    content = random.Random(size).randbytes(size)
    (tmp_path / "f").write_bytes(content)
    seen: list[float] = []
    view, sha256 = read_hashed(tmp_path / "f", seen.append)
    assert view == content
    assert sha256 == hashlib.sha256(content).hexdigest()
    assert seen == sorted(seen)
    assert seen[-1:] == ([1.0] if size else [])


@pytest.mark.parametrize("change", [b"", b"ab"])
def test_a_file_that_changes_its_size_while_it_is_read_is_refused(tmp_path: Path, change: bytes) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(40 << 20))

    def meddle(share: float) -> None:
        if share < 0.5:
            path.write_bytes(change) if not change else path.write_bytes(bytes(40 << 20) + change)

    with pytest.raises(CheckpointError, match="changed while it was read"):
        read_hashed(path, meddle)


def test_what_the_library_writes_is_laid_out_as_the_library_reads_it() -> None:
    state = {
        "a": torch.arange(6.0).view(2, 3),
        "b": torch.tensor(7),
        "c": torch.zeros(0, 4),
        "d": torch.ones(3, dtype=torch.bfloat16),
        "e": torch.tensor([True, False]),
    }
    data = save(state)
    for name, tensor in load(data).items():
        placed = layout(data, NOWHERE)[name]
        assert (DTYPES[placed.dtype], placed.shape) == (tensor.dtype, tuple(tensor.shape))
        assert data[placed.start : placed.stop] == bytes(tensor.view(-1).view(torch.uint8).numpy().data)


def test_what_we_lay_out_is_read_by_the_library_and_lies_aligned() -> None:
    shapes = {
        "odd": ("F32", (3,)),
        "n": ("I64", ()),
        "w": ("F32", (64, 3)),
        "empty": ("F32", (0,)),
        "v": ("F32", (16,)),
    }
    header, order = header_of(shapes)  # type: ignore[arg-type]
    assert order == ["empty", "v", "w", "n", "odd"]
    assert len(header) % ALIGNMENT == 0
    sizes = {"odd": 12, "n": 8, "w": 768, "empty": 0, "v": 64}
    data = header + b"".join(bytes([number]) * sizes[name] for number, name in enumerate(order))
    found = load(data)
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {n: s for n, (_, s) in shapes.items()}
    placed = layout(data, NOWHERE)
    assert all(placed[name].start % ALIGNMENT == 0 for name in ("v", "w", "n"))


GOOD = {"a": entry(0, 4, [4]), "b": entry(4, 6, [2, 1])}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        b"\xff" * 64,
        (1 << 62).to_bytes(8, "little") + b"{}",
        file_of(b"[1]"),
        file_of(b"null"),
        file_of(b"{"),
        file_of(b"\xff\xff"),
        file_of(b"[" * 100_000),
        file_of({"a": 1}),
        file_of({"a": {"dtype": "U8"}}),
        file_of({"a": {**entry(0, 1, [1]), "more": 1}}, b"x"),
        file_of({"a": entry(0, 1, [1], "U7")}, b"x"),
        file_of({"a": entry(0, 1, [1], "u8")}, b"x"),
        file_of({"a": entry(0, 2, [1])}, b"xx"),
        file_of({"a": entry(0, 4, [2], "F32")}, b"xxxx"),
        file_of({"a": entry(0, 1, [-1, -1])}, b"x"),
        file_of({"a": entry(1, 2, [1])}, b"xx"),
        file_of({"a": entry(0, 1, [1]), "b": entry(2, 3, [1])}, b"xxx"),
        file_of({"a": entry(0, 2, [2]), "b": entry(1, 3, [2])}, b"xxx"),
        file_of({"a": entry(0, 2, [2]), "b": entry(0, 2, [2])}, b"xx"),
        file_of({"a": entry(0, 1, [1])}, b"xx"),
        file_of({"a": entry(0, 2, [2])}, b"x"),
        file_of({"a": entry(0, 1 << 70, [1 << 70])}, b"x"),
        file_of({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, True]}}, b"x"),
        file_of(
            b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
            b"x",
        ),
    ],
)
def test_a_file_that_is_none_or_contradicts_itself_is_refused(data: bytes) -> None:
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        layout(data, NOWHERE)


def test_metadata_is_allowed_and_not_taken_for_a_tensor() -> None:
    assert set(layout(file_of({"__metadata__": {"format": "pt"}, **GOOD}, bytes(6)), NOWHERE)) == {"a", "b"}


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_no_bytes_bring_anything_but_a_refusal(data: bytes) -> None:
    for candidate in (data, file_of(data)):
        try:
            layout(candidate, NOWHERE)
        except CheckpointError:
            continue
        assert layout(candidate, NOWHERE) == {} or len(candidate) > 20


@given(st.integers(0, 10_000), st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_one_changed_byte_in_the_header_is_refused_or_read_within_the_file(position: int, value: int) -> None:
    data = bytearray(file_of(GOOD, bytes(6)))
    data[position % len(data)] = value
    try:
        placed = layout(bytes(data), NOWHERE)
    except CheckpointError:
        return
    assert all(0 <= tensor.start <= tensor.stop <= len(data) for tensor in placed.values())


def test_a_read_only_buffer_and_the_memory_of_the_server_give_the_same_network() -> None:
    from inference.checkpoint import Checkpoint, read_checkpoint

    sample = read_checkpoint(Path(__file__).resolve().parents[3] / "inference" / "sample", None)
    copied = Checkpoint(sample.description, bytes(sample.weights), sample.format)
    assert tensors(sample).keys() == tensors(copied).keys()
    first, second = build(sample).state_dict(), build(copied).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(tensor.data_ptr() % ALIGNMENT == 0 for tensor in first.values())
