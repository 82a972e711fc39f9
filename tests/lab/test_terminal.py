"""A drill whose terminal is closed: it restores, though every word that it says from then on is an error."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from estate import ON_MACHINES, Estate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drillctl.lab import Lab

pytestmark = ON_MACHINES


@pytest.fixture
def estate(lab: Lab, tmp_path: Path) -> Iterator[Estate]:
    """An estate in its steady state, which is the same afterwards."""
    made = Estate(lab, tmp_path)
    made.start_servers()
    before = made.state()
    yield made
    assert made.state() == before
    assert made.serving_zone() == "zone-a"


def read_until(terminal: int, closing: threading.Event) -> None:
    """Read what is written to a terminal, so that its writer never waits, until it is about to be closed."""
    while not closing.is_set():
        if select.select([terminal], [], [], 0.05)[0]:
            os.read(terminal, 65536)


def test_a_closed_terminal_is_survived(estate: Estate) -> None:
    ours, theirs = pty.openpty()
    # A session of its own with this terminal: closing it sends SIGHUP to all in it, as closing a window does.
    drill = subprocess.Popen(
        [sys.executable, "-m", "drillctl", "run", str(estate.playbook), "-i", str(estate.inventory), "--yes"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "DRILLCTL_HOME": str(estate.home), "TERM": "xterm"},
        preexec_fn=lambda: os.login_tty(0),
    )
    os.close(theirs)
    closing = threading.Event()
    reader = threading.Thread(target=read_until, args=(ours, closing))
    reader.start()
    try:
        estate.wait_for_step("fault")
    finally:
        closing.set()
        reader.join()
        os.close(ours)
    drill.wait(120)
    journal = estate.journal()
    assert '"event": "restored", "left": []' in journal
    assert '"verdict": "aborted"' in journal
    (report,) = estate.home.glob("runs/*/report.json")
    assert '"reason": "stopped by SIGHUP"' in report.read_text()
