from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from inference.errors import CheckpointError
from inference.manifest import manifest_text, parse_manifest, read_manifest

if TYPE_CHECKING:
    from pathlib import Path

SUM = "0123456789abcdef" * 4


def test_what_is_written_is_read_back() -> None:
    sums = {"b": SUM, "a.txt": SUM[::-1]}
    assert parse_manifest(manifest_text(sums), "x") == sums


def test_sha256sum_writes_what_is_read_and_reads_what_is_written(tmp_path: Path) -> None:
    for name in ("labels.txt", "model.json"):
        (tmp_path / name).write_text(name)
    written = subprocess.run(["sha256sum", "labels.txt", "model.json"], cwd=tmp_path, capture_output=True, check=True)
    (tmp_path / "SHA256SUMS").write_bytes(written.stdout)
    sums = read_manifest(tmp_path)
    assert sums is not None
    (tmp_path / "SHA256SUMS").write_text(manifest_text(sums))
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path, capture_output=True, check=True)


def test_a_folder_without_a_manifest_has_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        SUM,
        f"{SUM} name",
        f"{SUM[:-1]}  name",
        f"{SUM.upper()}  name",
        f"{SUM}  ../name",
        f"{SUM}  /etc/passwd",
        f"{SUM}  .hidden",
        f"{SUM}  a/b",
        f"{SUM}  SHA256SUMS",
        f"{SUM}  a\n{SUM}  a",
        f"{SUM}  a\n\n{SUM}  b",
        f"\\{SUM}  a\\nb",
    ],
)
def test_a_text_that_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError):
        parse_manifest(text, "somewhere")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "SHA256SUMS").write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match="not ASCII"):
        read_manifest(tmp_path)
