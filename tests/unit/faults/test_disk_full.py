"""disk-full: the real script that fills a disk, on a small one that only this test sees."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from drillctl.faults.disk_full import FILL, FREE

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk")

NOBODY = 65534
ON_A_DISK = """
mount -n -t tmpfs -o size=1m,mode=755,uid="$2" small "$1" && : > "$1/before" || exit 9
for name in .drillctl-filler .drillctl-probe; do [ -z "$4" ] || ln -s "$4" "$1/$name"; done
sh -c "$3" drillctl "$1/.drillctl-filler"
cd "$1" && find . ! -name . ! -type l -exec stat -c '%n %u' {} + | sort
"""


def fill(disk: Path, owner: int, link: str = "") -> list[str]:
    """Fill a disk that belongs to somebody; return what was said, and which files are there then, with their owners."""
    disk.mkdir()
    words = ["unshare", "-m", "sh", "-c", ON_A_DISK, "sh", str(disk), str(owner), FILL, link]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode == 9 or "unshare" in done.stderr:
        pytest.skip("no disk can be mounted here")
    return done.stdout.splitlines()


@pytest.mark.parametrize("owner", [0, NOBODY])
def test_the_disk_is_filled_to_its_last_block_as_whoever_owns_it(tmp_path: Path, owner: int) -> None:
    said, filler, before = fill(tmp_path / "disk", owner)
    assert said.startswith("full=yes bytes=1")
    assert (filler, before) == (f"./.drillctl-filler {owner}", "./before 0")


def test_root_follows_no_link_that_somebody_put_there(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"for root alone")
    secret.chmod(0o600)
    assert fill(tmp_path / "disk", NOBODY, str(secret))[1:] == ["./before 0"]
    assert secret.read_bytes() == b"for root alone"


def test_a_folder_that_others_may_write_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    tmp_path.chmod(0o775)
    words = ["sh", "-c", FREE, "drillctl", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"root does not work in {tmp_path}: others may write {tmp_path} ")
    tmp_path.chmod(0o755)
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split()[1] in {"yes", "no"}
