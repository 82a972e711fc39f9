"""What somebody else does to nginx and its config in the middle of a switch, against a real nginx: it is noticed."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from drillctl.errors import GatewayError

if TYPE_CHECKING:
    from .conftest import RunningNginx

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_nginx_that_sees_other_bytes_at_the_live_path_is_refused(nginx: RunningNginx) -> None:
    """As in a container with files of its own: what is edited here is not what nginx reads there."""
    nginx.start()
    command = " ".join(nginx.test)
    gateway = nginx.gateway(test=["sh", "-c", f'{command} "$@" | sed "s/# zone a/# zone A/"', "test"])
    with pytest.raises(GatewayError, match="nginx reads other bytes from"):
        gateway.stage("zone-b")
    assert nginx.leftovers() == []


def test_a_restart_in_place_of_a_reload_is_caught(nginx: RunningNginx) -> None:
    nginx.start()
    stop = f"{' '.join(nginx.test[:-1])} -s stop; while [ -e {nginx.pidfile} ]; do sleep 0.02; done"
    gateway = nginx.gateway(reload=["sh", "-c", f"{stop}; {' '.join(nginx.test[:-1])}"])
    activation = gateway.activate(gateway.stage("zone-b"))
    with pytest.raises(GatewayError, match="restarted, not reloaded"):
        gateway.prove_applied(activation, 0.5)


def test_an_edit_by_someone_else_before_activation_is_caught(nginx: RunningNginx) -> None:
    nginx.start()
    gateway = nginx.gateway()
    staged = gateway.stage("zone-b")
    theirs = nginx.live.read_bytes() + b"# edited\n"
    nginx.live.write_bytes(theirs)
    with pytest.raises(GatewayError, match="someone changed") as caught:
        gateway.activate(staged)
    assert caught.value.state == "nothing was changed"
    assert nginx.live.read_bytes() == theirs
    gateway.discard(staged)
    gateway.discard(staged)
    assert nginx.leftovers() == []


def test_a_changed_mode_before_activation_is_caught(nginx: RunningNginx) -> None:
    nginx.start()
    gateway = nginx.gateway()
    staged = gateway.stage("zone-b")
    nginx.live.chmod(0o600)
    with pytest.raises(GatewayError, match="mode or owner"):
        gateway.activate(staged)


def test_a_tampered_candidate_is_caught(nginx: RunningNginx) -> None:
    nginx.start()
    gateway = nginx.gateway()
    staged = gateway.stage("zone-b")
    next(nginx.folder.rglob("*.candidate")).write_text("")
    with pytest.raises(GatewayError):
        gateway.activate(staged)
    next(nginx.folder.rglob("*.candidate")).write_bytes(staged.hosts[0].content + b"# more\n")
    with pytest.raises(GatewayError, match="not what was staged"):
        gateway.activate(staged)
    assert gateway.read().configured_zone == "zone-a"


def test_a_config_that_broke_after_staging_is_caught_by_the_second_test(nginx: RunningNginx) -> None:
    nginx.start()
    gateway = nginx.gateway()
    staged = gateway.stage("zone-b")
    nginx.write_main("include conf.d/*.conf; nonsense;")
    staged_root = nginx.folder / ".drillctl-run-1.conf"
    staged_root.write_text(nginx.main.read_text())
    with pytest.raises(GatewayError, match=r"does not pass the test any more.*unknown directive"):
        gateway.activate(staged)
    assert nginx.answer() == "zone-a"


def test_an_edit_by_someone_else_during_the_drill_is_left_in_place(nginx: RunningNginx) -> None:
    nginx.start()
    gateway = nginx.gateway()
    original = gateway.read()
    gateway.activate(gateway.stage("zone-b"))
    theirs = nginx.live.read_bytes() + b"# their fix\n"
    nginx.live.write_bytes(theirs)
    with pytest.raises(GatewayError, match="someone changed") as caught:
        gateway.restore(original)
    assert "left in place" in (caught.value.state or "")
    assert nginx.live.read_bytes() == theirs


def test_a_removed_file_is_restored(nginx: RunningNginx) -> None:
    nginx.start()
    gateway = nginx.gateway()
    original = gateway.read()
    nginx.live.unlink()
    gateway.prove_applied(gateway.restore(original), 5)
    assert nginx.live.read_bytes() == original.hosts[0].content
    assert stat.S_IMODE(nginx.live.stat().st_mode) == original.hosts[0].mode
