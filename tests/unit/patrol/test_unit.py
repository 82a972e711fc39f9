"""The shipped unit of the patrol, as systemd reads it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).resolve().parents[3] / "deploy/drillctl-watch.service"
EXPOSURE = 15
"""The most that `systemd-analyze security` may find, in tenths: 1.5 of 10."""

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")


def verify(folder: Path, text: str) -> list[str]:
    file = folder / UNIT.name
    file.write_text(text.replace("/opt/drillctl/.venv/bin/drillctl", "/bin/true"))
    words = ["systemd-analyze", "verify", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    return [line for line in done.stderr.splitlines() if UNIT.name in line]


def exposure(folder: Path, text: str) -> int:
    file = folder / UNIT.name
    file.write_text(text)
    words = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", str(file)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60).returncode


def test_systemd_accepts_it_and_would_not_accept_a_mistake(tmp_path: Path) -> None:
    assert verify(tmp_path, UNIT.read_text()) == []
    assert verify(tmp_path, UNIT.read_text().replace("WatchdogSec=5min", "WatchdogSec=often")) != []


def test_it_is_sandboxed_and_less_would_be_noticed(tmp_path: Path) -> None:
    assert exposure(tmp_path, UNIT.read_text()) == 0
    assert exposure(tmp_path, UNIT.read_text().replace("CapabilityBoundingSet=\n", "")) != 0
