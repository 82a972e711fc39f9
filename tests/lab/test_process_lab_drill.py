"""The fallback lab: an ordinary user drills it, and the report says what such a lab cannot prove."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from estate import PLAYBOOK

if TYPE_CHECKING:
    from conftest import Sandbox

pytestmark = pytest.mark.lab

PROJECT = Path(__file__).resolve().parents[2]


def test_an_ordinary_user_drills_the_fallback_lab(ordinary: Sandbox, tmp_path: Path) -> None:
    playbook = tmp_path / "quick.yaml"
    playbook.write_text(PLAYBOOK.replace("IMAGES", str(PROJECT / "playbooks" / "images")))
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    words = ["env", f"DRILLCTL_HOME={home}", sys.executable, "-B", "-m", "drillctl"]
    words += ["run", str(playbook), "--lab", "--yes", "--json"]
    done = subprocess.run(
        ordinary.command(words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200, cwd=PROJECT
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["verdict"] == "passed"
    assert report["inventory"] == "lab-process"
    assert report["restore"]["config_identical"] is True
    said = " ".join(report["not_proven"])
    assert all(word in said for word in ("isolation", "partition", "reboot"))
