"""NginxGateway against a real nginx: what it switches, what it refuses, and what it catches."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from drillctl.errors import GatewayError

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import RunningNginx

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.mark.parametrize("style", ["#", "##", "down"])
def test_a_switch_and_the_way_back_leave_the_file_byte_identical(nginx: RunningNginx, style: str) -> None:
    nginx.write_live(style)
    nginx.live.chmod(0o640)
    before = nginx.live.read_bytes()
    nginx.start()
    gateway = nginx.gateway()
    original = gateway.read()
    assert original.configured_zone == "zone-a"
    assert nginx.answer() == "zone-a"

    staged = gateway.stage("zone-b")
    assert nginx.live.read_bytes() == before
    activation = gateway.activate(staged)
    gateway.prove_applied(activation, 5)
    assert nginx.answer() == "zone-b"
    assert gateway.read().configured_zone == "zone-b"
    assert nginx.leftovers() == []

    back = gateway.restore(original)
    gateway.prove_applied(back, 5)
    assert nginx.answer() == "zone-a"
    assert nginx.live.read_bytes() == before
    assert stat.S_IMODE(nginx.live.stat().st_mode) == 0o640
    assert nginx.leftovers() == []


def test_the_proof_names_old_and_new_workers(nginx: RunningNginx) -> None:
    nginx.start()
    gateway = nginx.gateway()
    activation = gateway.activate(gateway.stage("zone-b"))
    gateway.prove_applied(activation, 5)
    host = activation.hosts[0]
    assert host.master[0] == nginx.master
    assert len(host.before) == 2
    assert host.reloaded
    assert 0 <= host.switch_seconds <= host.seconds < 5


def test_restoring_what_is_in_place_and_in_force_only_verifies(nginx: RunningNginx) -> None:
    time.sleep(0.1)
    nginx.start()
    gateway = nginx.gateway()
    original = gateway.read()
    activation = gateway.restore(original)
    assert not activation.hosts[0].reloaded
    gateway.prove_applied(activation, 5)


def test_restoring_reloads_when_the_workers_are_older_than_the_file(nginx: RunningNginx) -> None:
    nginx.start()
    gateway = nginx.gateway()
    original = gateway.read()
    time.sleep(0.1)
    nginx.live.write_bytes(nginx.live.read_bytes())
    activation = gateway.restore(original)
    assert activation.hosts[0].reloaded
    gateway.prove_applied(activation, 5)


def test_restoring_puts_mode_and_owner_back(nginx: RunningNginx) -> None:
    nginx.start()
    gateway = nginx.gateway()
    original = gateway.read()
    nginx.live.chmod(0o600)
    gateway.restore(original)
    assert stat.S_IMODE(nginx.live.stat().st_mode) == original.hosts[0].mode


def test_restoring_works_with_nginx_stopped_and_says_what_is_missing(nginx: RunningNginx) -> None:
    nginx.start()
    gateway = nginx.gateway()
    original = gateway.read()
    gateway.activate(gateway.stage("zone-b"))
    os.kill(nginx.master, 15)
    nginx.wait_for(lambda: not nginx.pidfile.exists())
    with pytest.raises(GatewayError, match="ended with exit code 1") as caught:
        gateway.restore(original)
    assert "config file is in place" in (caught.value.state or "")
    assert nginx.live.read_bytes() == original.hosts[0].content


def test_a_candidate_that_fails_the_test_changes_nothing(nginx: RunningNginx) -> None:
    """The standby's line is fine as a comment, and refused by nginx once it is switched on."""
    text = nginx.upstream().replace(f"server {nginx.standby}", f"server {nginx.standby} weight=x")
    nginx.live.write_text(text + nginx.server())
    before = nginx.live.read_bytes()
    nginx.start()
    with pytest.raises(GatewayError, match=r"does not accept the candidate.*invalid parameter"):
        nginx.gateway().stage("zone-b")
    assert nginx.live.read_bytes() == before
    assert nginx.leftovers() == []
    assert nginx.answer() == "zone-a"


def test_a_live_config_that_nginx_refuses_is_named(nginx: RunningNginx) -> None:
    nginx.start()
    nginx.write_main("include conf.d/*.conf; nonsense;")
    gateway = nginx.gateway()
    with pytest.raises(GatewayError, match="unknown directive"):
        gateway.test()
    with pytest.raises(GatewayError, match="unknown directive"):
        gateway.stage("zone-b")
    assert nginx.leftovers() == []


def test_a_reload_that_cannot_bind_a_port_is_caught_although_it_exits_with_zero(nginx: RunningNginx) -> None:
    nginx.start()
    gateway = nginx.gateway()
    original = gateway.read()
    busy = nginx.zone_a.port
    (nginx.folder / "conf.d" / "other.conf").write_text(f"server {{ listen 127.0.0.1:{busy}; }}\n")
    activation = gateway.activate(gateway.stage("zone-b"))
    with pytest.raises(GatewayError, match=r"bind\(\) to 127.0.0.1:\d+ failed"):
        gateway.prove_applied(activation, 5)
    assert nginx.answer() == "zone-a"
    (nginx.folder / "conf.d" / "other.conf").unlink()
    gateway.prove_applied(gateway.restore(original), 5)
    assert nginx.answer() == "zone-a"


def test_a_reload_that_cannot_change_a_shared_zone_is_caught(nginx: RunningNginx) -> None:
    zone = nginx.folder / "conf.d" / "limits.conf"
    zone.write_text("limit_req_zone $remote_addr zone=limits:1m rate=10r/s;\n")
    nginx.start()
    gateway = nginx.gateway()
    zone.write_text("limit_req_zone $uri zone=limits:1m rate=10r/s;\n")
    activation = gateway.activate(gateway.stage("zone-b"))
    with pytest.raises(GatewayError, match="limit_req"):
        gateway.prove_applied(activation, 5)


def test_without_an_error_log_the_workers_still_tell(nginx: RunningNginx) -> None:
    nginx.start()
    gateway = nginx.gateway(error_log=str(nginx.folder / "no-such.log"))
    (nginx.folder / "conf.d" / "other.conf").write_text(f"server {{ listen 127.0.0.1:{nginx.zone_a.port}; }}\n")
    activation = gateway.activate(gateway.stage("zone-b"))
    with pytest.raises(GatewayError, match="no new worker was started"):
        gateway.prove_applied(activation, 0.3)


def test_a_reload_command_that_does_nothing_is_caught(nginx: RunningNginx) -> None:
    nginx.start()
    gateway = nginx.gateway(reload=["true"])
    activation = gateway.activate(gateway.stage("zone-b"))
    with pytest.raises(GatewayError, match="no new worker was started"):
        gateway.prove_applied(activation, 0.3)
    assert nginx.answer() == "zone-a"


def test_a_reload_command_that_fails_says_what_is_in_place(nginx: RunningNginx) -> None:
    nginx.start()
    gateway = nginx.gateway(reload=["sh", "-c", "echo no such service; exit 5"])
    original = gateway.read()
    with pytest.raises(GatewayError, match="ended with exit code 5: no such service") as caught:
        gateway.activate(gateway.stage("zone-b"))
    assert "not told" in (caught.value.state or "")
    nginx.gateway().prove_applied(nginx.gateway().restore(original, over={gateway.read().hosts[0].sha256}), 5)
    assert nginx.live.read_bytes() == original.hosts[0].content


@as_root
def test_a_file_that_is_a_mount_of_its_own_is_refused(nginx: RunningNginx) -> None:
    nginx.start()
    other = nginx.folder / "elsewhere"
    other.write_bytes(nginx.live.read_bytes())
    subprocess.run(["mount", "--bind", str(other), str(nginx.live)], check=True)
    try:
        gateway = nginx.gateway()
        with pytest.raises(GatewayError, match="mount of its own"):
            gateway.stage("zone-b")
        assert nginx.leftovers() == []
    finally:
        subprocess.run(["umount", str(nginx.live)], check=True)


def test_nginx_that_does_not_run_is_refused_when_staging(nginx: RunningNginx) -> None:
    with pytest.raises(GatewayError, match="no nginx master runs"):
        nginx.gateway().stage("zone-b")
    assert nginx.leftovers() == []


def test_a_pidfile_of_another_process_is_no_master(nginx: RunningNginx) -> None:
    nginx.start()
    other = nginx.folder / "other.pid"
    other.write_text(f"{os.getpid()}\n")
    with pytest.raises(GatewayError, match=r"no nginx master runs by the pid file .*other\.pid"):
        nginx.gateway(pidfile=str(other)).stage("zone-b")


def test_nginx_that_has_died_since_is_refused_with_nothing_changed(nginx: RunningNginx) -> None:
    before = nginx.live.read_bytes()
    nginx.start()
    gateway = nginx.gateway()
    staged = gateway.stage("zone-b")
    os.kill(nginx.master, 15)
    nginx.wait_for(lambda: not nginx.pidfile.exists())
    with pytest.raises(GatewayError, match="no nginx master runs") as caught:
        gateway.activate(staged)
    assert caught.value.state == "nothing was changed"
    assert nginx.live.read_bytes() == before


def test_a_link_in_sites_enabled_is_followed_and_stays_a_link(nginx: RunningNginx) -> None:
    available, enabled = nginx.folder / "sites-available", nginx.folder / "sites-enabled"
    available.mkdir()
    enabled.mkdir()
    target = available / "service"
    nginx.live.rename(target)
    link = enabled / "service"
    link.symlink_to("../sites-available/service")
    nginx.write_main("include sites-enabled/*;")
    nginx.start()
    before = target.read_bytes()
    gateway = nginx.gateway(config=str(link))
    original = gateway.read()
    gateway.prove_applied(gateway.activate(gateway.stage("zone-b")), 5)
    assert nginx.answer() == "zone-b"
    assert link.is_symlink()
    gateway.prove_applied(gateway.restore(original), 5)
    assert target.read_bytes() == before
    assert nginx.answer() == "zone-a"


def test_the_main_config_itself_can_hold_the_upstream(nginx: RunningNginx) -> None:
    nginx.live.unlink()
    nginx.write_main(nginx.upstream() + nginx.server())
    nginx.start()
    gateway = nginx.gateway(config=str(nginx.main))
    gateway.prove_applied(gateway.activate(gateway.stage("zone-b")), 5)
    assert nginx.answer() == "zone-b"
    assert nginx.leftovers() == []


def test_a_file_below_two_includes_is_tested_in_its_place(nginx: RunningNginx) -> None:
    """The candidate is refused for what the other files say: only a test of the whole tree can know."""
    upstreams = nginx.folder / "upstreams"
    upstreams.mkdir()
    live = upstreams / "service.conf"
    live.write_text(nginx.upstream())
    nginx.live.write_text("include upstreams/service.conf;\n" + nginx.server())
    nginx.start()
    gateway = nginx.gateway(config=str(live))
    gateway.prove_applied(gateway.activate(gateway.stage("zone-b")), 5)
    assert nginx.answer() == "zone-b"
    assert nginx.leftovers() == []


def test_a_file_that_nginx_does_not_read_is_refused(nginx: RunningNginx) -> None:
    nginx.start()
    stray = nginx.folder / "stray.conf"
    stray.write_bytes(nginx.live.read_bytes())
    with pytest.raises(GatewayError, match=r"nginx does not read .*stray\.conf; it reads .*service\.conf"):
        nginx.gateway(config=str(stray)).stage("zone-b")


def test_a_test_command_that_hides_the_config_is_refused(nginx: RunningNginx) -> None:
    nginx.start()
    with pytest.raises(GatewayError, match="did not print the config"):
        nginx.gateway(test=["true"]).stage("zone-b")


def test_a_test_command_that_ignores_its_options_is_caught(nginx: RunningNginx) -> None:
    """It always tests, and prints, the live config: green, but of the wrong tree."""
    nginx.start()
    command = " ".join(nginx.test)
    gateway = nginx.gateway(test=["sh", "-c", f"{command} -T"])
    with pytest.raises(GatewayError, match="did not read the files it should have"):
        gateway.stage("zone-b")
    assert nginx.leftovers() == []


def test_a_missing_config_is_named(nginx: RunningNginx) -> None:
    with pytest.raises(GatewayError, match="is not a file"):
        nginx.gateway(config=str(nginx.folder / "none.conf")).read()


def test_a_missing_upstream_names_those_there_are(nginx: RunningNginx) -> None:
    with pytest.raises(GatewayError, match="there is no upstream `other`; there are: `service`"):
        nginx.gateway(upstream="other").read()


def test_a_server_of_no_zone_is_refused(nginx: RunningNginx) -> None:
    text = nginx.upstream().replace("}", "    server 127.0.0.1:9;\n}")
    nginx.live.write_text(text + nginx.server())
    nginx.start()
    gateway = nginx.gateway()
    config = gateway.read()
    assert config.configured_zone is None
    assert "127.0.0.1:9 of no zone" in (config.reason or "")
    with pytest.raises(GatewayError, match="of no zone"):
        gateway.stage("zone-b")
    assert nginx.leftovers() == []


def test_the_access_log_names_who_answered(nginx: RunningNginx) -> None:
    nginx.start()
    gateway = nginx.gateway()
    mark = gateway.access_mark()
    for _ in range(3):
        assert nginx.answer() == "zone-a"
    gateway.prove_applied(gateway.activate(gateway.stage("zone-b")), 5)
    for _ in range(2):
        assert nginx.answer() == "zone-b"
    served = gateway.served_since(mark)
    assert served.by_address == {nginx.primary: 3, nginx.standby: 2}
    assert served.requests == 5


def test_a_rotated_access_log_is_read_on(nginx: RunningNginx) -> None:
    nginx.start()
    gateway = nginx.gateway()
    nginx.answer()
    mark = gateway.access_mark()
    nginx.answer()
    log: Path = nginx.folder / "access.log"
    log.rename(nginx.folder / "access.log.1")
    os.kill(nginx.master, 10)  # SIGUSR1: reopen the logs
    nginx.wait_for(log.exists)
    nginx.wait_for(lambda: nginx.answer() is not None and log.stat().st_size > 0)
    served = gateway.served_since(mark)
    assert served.by_address is not None
    assert served.by_address[nginx.primary] >= 2


def test_an_access_log_without_the_upstream_cannot_tell(nginx: RunningNginx) -> None:
    nginx.log_format = '$remote_addr "$request" $status'
    nginx.write_live()
    nginx.start()
    gateway = nginx.gateway()
    mark = gateway.access_mark()
    nginx.answer()
    served = gateway.served_since(mark)
    assert served.by_address is None
    assert "upstream_addr" in (served.reason or "")
