"""The flag of a real nginx: what it switches, how fast, what is refused, and what is caught."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from drillctl.errors import GatewayError
from drillctl.gateway import flag as flags
from drillctl.gateway.flag import Flag

if TYPE_CHECKING:
    from drillctl.gateway.gateway import Gateway

    from .conftest import RunningNginx

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def gateway(nginx: RunningNginx) -> Gateway:
    """A running nginx whose config was adopted, driven by its flag."""
    nginx.adopt(kind="nginx-flag", flag=str(nginx.flag))
    time.sleep(0.1)
    nginx.start()
    return of(nginx)


def of(nginx: RunningNginx, **options: object) -> Gateway:
    return nginx.gateway(kind="nginx-flag", flag=str(nginx.flag), **options)


def test_a_switch_needs_no_reload_and_the_config_is_not_touched(nginx: RunningNginx, gateway: Gateway) -> None:
    before, master = nginx.live.read_bytes(), nginx.master
    workers = subprocess.run(["pgrep", "-P", str(master)], capture_output=True, check=True).stdout
    original = gateway.read()
    assert (original.configured_zone, nginx.answer()) == ("zone-a", "zone-a")
    activation = gateway.activate(gateway.stage("zone-b"))
    assert nginx.answer() == "zone-b"
    gateway.prove_applied(activation, 5)
    assert gateway.read().configured_zone == "zone-b"
    back = gateway.restore(original)
    assert nginx.answer() == "zone-a"
    gateway.prove_applied(back, 5)
    assert not nginx.flag.exists()
    assert nginx.live.read_bytes() == before
    assert subprocess.run(["pgrep", "-P", str(master)], capture_output=True, check=True).stdout == workers
    assert gateway.read() == original
    assert nginx.leftovers() == []


def test_the_next_request_after_the_switch_goes_to_the_standby(nginx: RunningNginx, gateway: Gateway) -> None:
    """No time passes between the two: whichever worker takes the request looks for the flag itself."""
    original = gateway.read()
    seconds = []
    for _ in range(10):
        seconds += [host.switch_seconds for host in gateway.activate(gateway.stage("zone-b")).hosts]
        assert [nginx.answer() for _ in range(4)] == ["zone-b"] * 4
        seconds += [host.switch_seconds for host in gateway.restore(original).hosts]
        assert [nginx.answer() for _ in range(4)] == ["zone-a"] * 4
    assert statistics.median(seconds) < 0.05  # one program is started in it, `ln`


def test_a_flag_that_was_there_before_comes_back_with_its_bytes_and_mode(nginx: RunningNginx, gateway: Gateway) -> None:
    """As when a person has switched to the standby, and drillctl switches to the primary and back."""
    nginx.flag.parent.mkdir()
    nginx.flag.write_bytes(b"Ana, maintenance until noon\n\xff")
    nginx.flag.chmod(0o640)
    original = gateway.read()
    assert (original.configured_zone, nginx.answer()) == ("zone-b", "zone-b")
    gateway.prove_applied(gateway.activate(gateway.stage("zone-a")), 5)
    assert nginx.answer() == "zone-a"
    assert not nginx.flag.exists()
    gateway.prove_applied(gateway.restore(original), 5)
    assert nginx.flag.read_bytes() == b"Ana, maintenance until noon\n\xff"
    assert nginx.flag.stat().st_mode & 0o777 == 0o640
    assert gateway.read() == original


def test_a_flag_that_someone_else_sets_meanwhile_is_neither_replaced_nor_removed(
    nginx: RunningNginx, gateway: Gateway
) -> None:
    original = gateway.read()
    staged = gateway.stage("zone-b")
    nginx.flag.write_text("Ana\n")
    with pytest.raises(GatewayError, match="could not be set") as caught:
        gateway.activate(staged)
    assert caught.value.state == "nothing was changed"
    with pytest.raises(GatewayError, match="someone else changed"):
        gateway.restore(original)
    assert nginx.flag.read_text() == "Ana\n"


def test_another_process_restores_by_what_the_run_kept(nginx: RunningNginx, gateway: Gateway) -> None:
    """As `drillctl recover` does it: it knows the hash of what was staged."""
    original = gateway.read()
    staged = gateway.stage("zone-b")
    gateway.activate(staged)
    fresh = of(nginx)
    with pytest.raises(GatewayError, match="someone else changed"):
        fresh.restore(original)
    fresh.prove_applied(fresh.restore(original, over=[host.sha256 for host in staged.hosts]), 5)
    assert nginx.answer() == "zone-a"


def test_a_config_that_does_not_look_for_the_flag_is_refused(nginx: RunningNginx) -> None:
    nginx.start()
    gateway = of(nginx)
    config = gateway.read()
    assert config.configured_zone is None
    assert "there is no upstream `service_standby`" in (config.reason or "")
    with pytest.raises(GatewayError, match="service_standby") as caught:
        gateway.stage("zone-b")
    assert "drillctl gateway adopt" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("$drillctl_service;", "service;", "whatever the flag says"),
        ("if (-f ", "if (!-f ", "no `if"),
        ("set $drillctl_service service_standby", "set $drillctl_service service", "no `if"),
        ("open_file_cache off", "open_file_cache max=10", "notices the flag late"),
    ],
)
def test_a_config_that_looks_right_and_is_not_is_refused(
    nginx: RunningNginx, before: str, after: str, reason: str
) -> None:
    nginx.adopt(kind="nginx-flag", flag=str(nginx.flag))
    text = nginx.live.read_text()
    assert before in text
    nginx.live.write_text(text.replace(before, after))
    config = of(nginx).read()
    assert config.configured_zone is None
    assert reason in (config.reason or "")


def test_a_config_that_nginx_has_not_read_yet_is_refused(nginx: RunningNginx) -> None:
    """The file is right, nginx goes by another: the flag would do nothing, and only when it is needed."""
    nginx.start()
    time.sleep(0.1)
    nginx.adopt(kind="nginx-flag", flag=str(nginx.flag))
    gateway = of(nginx)
    assert gateway.read().configured_zone == "zone-a"
    with pytest.raises(GatewayError, match="changed after nginx has read it"):
        gateway.stage("zone-b")
    assert nginx.leftovers() == []
    subprocess.run(nginx.reload, check=True, capture_output=True)
    nginx.wait_for(lambda: _stages(gateway))


def _stages(gateway: Gateway) -> bool:
    try:
        gateway.stage("zone-b")
    except GatewayError:
        return False
    return True


def test_a_flag_that_does_nothing_is_caught_by_the_data_path(nginx: RunningNginx, gateway: Gateway) -> None:
    """nginx looks elsewhere: everything is in place, and clients stay where they were."""
    activation = gateway.activate(gateway.stage("zone-b"))
    elsewhere = nginx.flag.with_name("elsewhere")
    nginx.live.write_text(nginx.live.read_text().replace(str(nginx.flag), str(elsewhere)))
    subprocess.run(nginx.reload, check=True, capture_output=True)
    nginx.wait_for(lambda: all(nginx.answer() == "zone-a" for _ in range(20)))
    with pytest.raises(GatewayError, match="zone-a answers through this host, not zone-b"):
        gateway.prove_applied(activation, 0.5)


def test_a_flag_that_vanishes_is_caught(nginx: RunningNginx, gateway: Gateway) -> None:
    activation = gateway.activate(gateway.stage("zone-b"))
    nginx.flag.unlink()
    with pytest.raises(GatewayError, match="not there any more"):
        gateway.prove_applied(activation, 1)


@as_root
def test_a_folder_that_is_closed_to_the_workers_is_refused(nginx: RunningNginx) -> None:
    """nginx's workers are another user: a flag that they cannot see is no flag, and nothing would tell."""
    nginx.adopt(kind="nginx-flag", flag=str(nginx.flag))
    nginx.main.write_text(nginx.main.read_text().replace("user root;", "user nobody nogroup;"))
    time.sleep(0.1)
    nginx.start()
    nginx.flag.parent.mkdir(mode=0o700)
    with pytest.raises(GatewayError, match="cannot look into"):
        of(nginx).stage("zone-b")
    assert list(nginx.flag.parent.iterdir()) == []


def test_a_flag_survives_as_words() -> None:
    for flag in (None, Flag(b""), Flag(b"a \xff\n", 0o600, "33:33")):
        assert flags.from_words(flags.in_words(flag)) == flag
    with pytest.raises(GatewayError, match="describes no flag"):
        flags.from_words("flag x")
