"""model: the real script that spoils a model file, on files of this machine, with a systemctl that only notes calls."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from drillctl.faults.model_file import SPOIL, kept_of

if TYPE_CHECKING:
    from pathlib import Path


class Scene:
    """A model, and programs of a host; `cp` can be replaced to let something happen while it copies."""

    def __init__(self, top: Path) -> None:
        self.live = top / "model" / "model.bin"
        self.live.parent.mkdir()
        self.live.write_bytes(b"the model")
        self.drop_in = top / "unit.d" / "90-drillctl-hold.conf"
        self.bin = top / "bin"
        self.bin.mkdir()
        self.put("systemctl", f'echo "$@" >> {top}/calls')
        self.calls = top / "calls"

    @property
    def kept(self) -> str:
        return kept_of(str(self.live))

    def put(self, name: str, script: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def spoil(self, how: str) -> subprocess.CompletedProcess[str]:
        words = (str(self.live), self.kept, how, "inference.service", str(self.drop_in))
        path = f"{self.bin}:{os.environ['PATH']}"
        return subprocess.run(
            ["sh", "-c", SPOIL, "drillctl", *words],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )

    def files(self) -> list[str]:
        return sorted(file.name for file in self.live.parent.iterdir())


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_an_altered_model_differs_in_one_byte_and_the_original_is_kept(scene: Scene) -> None:
    done = scene.spoil("altered")
    assert done.returncode == 0, done.stderr
    assert scene.files() == [".drillctl-kept-model.bin", "model.bin"]
    spoilt = scene.live.read_bytes()
    assert [a != b for a, b in zip(spoilt, b"the model", strict=True)].count(True) == 1
    assert scene.drop_in.exists()
    assert scene.calls.read_text() == "daemon-reload\nrestart --no-block -- inference.service\n"


def test_a_deleted_model_is_only_moved_aside(scene: Scene) -> None:
    assert scene.spoil("deleted").returncode == 0
    assert scene.files() == [".drillctl-kept-model.bin"]


@pytest.mark.parametrize("undone", ["rm {drop_in}", "rm {copy}", "rm {copy} {drop_in}"])
def test_a_fault_that_was_undone_while_the_model_was_copied_is_not_made_any_more(scene: Scene, undone: str) -> None:
    what = undone.format(drop_in=scene.drop_in, copy=f"{scene.kept}.copy")
    # What the guard does when the lease runs out.
    scene.put("dd", f'/bin/dd "$@"; {what}')
    done = scene.spoil("altered")
    assert done.returncode == 1
    assert scene.files() == ["model.bin"]
    assert scene.live.read_bytes() == b"the model"
    assert not scene.calls.exists(), "the service was not restarted"


def test_a_copy_that_fails_leaves_nothing(scene: Scene) -> None:
    scene.put("cp", 'for last; do :; done; echo half > "$last"; echo "no space left" >&2; exit 1')
    done = scene.spoil("altered")
    assert done.returncode == 1
    assert "no space left" in done.stderr
    assert scene.files() == ["model.bin"]
