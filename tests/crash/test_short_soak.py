"""The soak, with two drills instead of fifty: it must work when somebody wants to know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from estate import ON_MACHINES

pytestmark = ON_MACHINES


def test_two_drills_in_a_row_are_judged_and_counted() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.soak", "--drills", "2"],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 verdicts are right" in done.stdout
    assert "gateway descriptors" in done.stdout
