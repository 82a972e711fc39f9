"""`drillctl status --watch` from outside: a table drawn anew on a terminal, lines elsewhere; a signal ends it well."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Ended

WORDS = ("status", "-i", "inventory.yaml", "--watch", "--every", "1s")


def test_on_a_terminal_it_is_a_table_that_ctrl_c_ends(on_terminal: Callable[..., Ended], dead_estate: Path) -> None:
    ended = on_terminal(*WORDS, prompt="NOT all is well", keys=b"\x03", NO_COLOR="1", COLUMNS="100")
    assert ended.code == 0, ended.out
    assert "shop (staging) at " in ended.out
    assert re.search(r"a-1 +zone-a +primary +unreachable", ended.out)
    assert "what the gateway is configured for is unknown: gateway cannot be reached" in ended.out
    assert "! a-1: 127.0.1.1:" in ended.out
    assert "Traceback" not in ended.out


def test_in_a_pipe_it_is_a_line_for_each_change(dead_estate: Path, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    words = [sys.executable, "-m", "drillctl", *WORDS]
    started = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert started.stdout is not None
    lines = [started.stdout.readline().decode() for _ in range(5)]
    started.send_signal(signal.SIGTERM)
    out, err = started.communicate(timeout=20)
    assert (started.returncode, err) == (0, b"")
    assert [line.split()[1] for line in lines] == ["started", "ALARM", "ALARM", "ALARM", "ALARM"]
    assert "\x1b" not in "".join(lines) + out.decode()


def test_a_document_has_no_end_to_watch(drillctl: Callable[..., Ended], inventory_file: Path) -> None:
    ended = drillctl(*WORDS, "--json")
    assert ended.code == 2
    assert "--watch and --json exclude each other" in ended.err
