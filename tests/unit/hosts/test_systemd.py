"""The service as a systemd unit: what systemd says of it, and a kill that is proven or none, by real shells."""

from __future__ import annotations

import pytest

from drillctl.hosts.scripted import Answer, ScriptedTransport
from drillctl.hosts.systemd import SystemdService


@pytest.mark.parametrize(
    ("active", "sub", "job", "pids", "running", "coming"),
    [
        ("active", "running", "", "41 42", True, False),
        ("inactive", "dead", "", "", False, False),
        ("failed", "failed", "", "", False, False),
        # Queued behind After=network-online.target, or behind a mount.
        ("inactive", "dead", "117", "", False, True),
        ("activating", "auto-restart", "", "", False, True),
        ("activating", "start-pre", "118", "40", True, True),
        ("deactivating", "stop-post", "", "43", False, True),
    ],
)
def test_a_unit_that_is_to_be_started_has_not_ended(
    active: str, sub: str, job: str, pids: str, running: bool, coming: bool
) -> None:
    said = f"LoadState=loaded\nActiveState={active}\nSubState={sub}\nMainPID=0\nControlGroup=\nJob={job}\n"
    host = ScriptedTransport("a-1", lambda _: Answer(f"{said}Pids={pids}\nHeld=no\n".encode()))
    state = SystemdService(host, "inference.service", 8000).state()
    assert (state.running, state.coming) == (running, coming)
    assert f"{active} ({sub})" in state.detail
    assert ("job queued" in state.detail) is bool(job)
