"""What the patrol tells systemd, over a real socket."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from drillctl.patrol.supervisor import tell

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("abstract", [False, True])
def test_a_supervisor_that_listens_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"@drillctl-test-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name[1:]}" if abstract else name)
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        tell("READY=1\nSTATUS=3 looks")
        assert listener.recv(100) == b"READY=1\nSTATUS=3 looks"


@pytest.mark.parametrize("name", ["", "/nowhere/notify", "vsock:2:1"])
def test_without_one_nothing_happens(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    tell("READY=1")
