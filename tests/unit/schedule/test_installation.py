"""What goes wrong as a schedule is put in its place or taken away is told in words."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from drillctl.errors import UsageError
from drillctl.schedule import expression, installation
from drillctl.schedule.installation import Change

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drillctl.schedule.job import Job


def never_ends(command: list[str], **_: object) -> None:
    raise subprocess.TimeoutExpired(command, 60)


def test_a_program_that_does_not_end_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", never_ends)
    with pytest.raises(UsageError, match="`systemctl daemon-reload` did not end within 60 s"):
        installation._run(["systemctl", "daemon-reload"])
    with pytest.raises(UsageError, match="systemd-analyze did not read it within 60 s"):
        expression.parse("Mon *-*-* 03:00:00.5")


def test_a_service_without_its_timer_is_taken_away(
    tmp_path: Path, make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(installation, "_systemctl", lambda *words: ran.append(words[0]))
    left = tmp_path / "drill.service"
    left.touch()
    installation.apply(make_job(), "systemd", [Change(str(left), "", None)])
    assert not left.exists()
    assert ran == ["daemon-reload"]


def test_a_file_that_cannot_be_removed_is_named(tmp_path: Path, make_job: Callable[..., Job]) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=r"folder cannot be removed: "):
        installation.apply(make_job(), "github", [Change(str(tmp_path / "folder"), "", None)])
