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


NOBODY = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="another user's folder can only be made by root")


@AS_ROOT
@pytest.mark.parametrize("how", ["altered", "deleted"])
@pytest.mark.parametrize("planted", [".drillctl-kept-model.bin.copy", "model.bin"])
def test_root_follows_no_link_in_the_folder_of_somebody_else(
    scene: Scene, tmp_path: Path, how: str, planted: str
) -> None:
    """As a compromised service can put there that owns its model: it must not have root's files read or written."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"for root alone")
    secret.chmod(0o600)
    folder = scene.live.parent
    os.chown(folder, NOBODY, NOBODY)
    os.chown(scene.live, NOBODY, NOBODY)
    (folder / planted).unlink(missing_ok=True)
    (folder / planted).symlink_to(secret)
    done = scene.spoil(how)
    assert (secret.read_bytes(), secret.stat().st_uid, secret.stat().st_mode & 0o777) == (b"for root alone", 0, 0o600)
    own = [file for file in folder.iterdir() if file.is_file() and not file.is_symlink()]
    assert all(file.stat().st_uid == NOBODY and file.read_bytes() != b"for root alone" for file in own)
    if planted != "model.bin":
        assert done.returncode == 0, done.stderr
        assert scene.live.exists() == (how == "altered")


@AS_ROOT
def test_a_model_of_the_services_own_is_spoilt_as_its_owner(scene: Scene) -> None:
    os.chown(scene.live.parent, NOBODY, NOBODY)
    assert scene.spoil("altered").returncode == 0
    assert scene.files() == [".drillctl-kept-model.bin", "model.bin"]
    # The original is only renamed: it comes back with the owner and the rights that it had.
    assert (scene.live.stat().st_uid, scene.live.with_name(".drillctl-kept-model.bin").stat().st_uid) == (NOBODY, 0)


@AS_ROOT
@pytest.mark.parametrize(("place", "mode", "owner"), [
    ("model", 0o775, 0), ("model", 0o1777, 0), (".", 0o755, NOBODY), (".", 0o775, 0),
])  # fmt: skip
def test_root_does_not_work_where_others_may_put_another_folder_in_place(
    scene: Scene, tmp_path: Path, place: str, mode: int, owner: int
) -> None:
    os.chown(tmp_path / place, owner, 0)
    (tmp_path / place).chmod(mode)
    done = scene.spoil("altered")
    assert done.returncode == 1
    assert f"root does not work in {scene.live.parent}: others may write {tmp_path / place} " in done.stderr
    assert scene.files() == ["model.bin"]
    assert not scene.drop_in.exists()
