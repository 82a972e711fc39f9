"""A real HAProxy: switched at its socket, kept over a reload, put back, and what is refused or caught."""

from __future__ import annotations

import json
import shutil
import socket
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from drillctl import snapshot
from drillctl.errors import GatewayError
from drillctl.gateway import haproxy_scripts
from drillctl.gateway.haproxy_state import missing_in_config
from drillctl.gateway.nginx_adoption import FALLBACK
from drillctl.hosts.local import LocalTransport

from .conftest import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from drillctl.gateway.gateway import Gateway

    from .conftest import RunningHaproxy


@pytest.fixture
def gateway(haproxy: RunningHaproxy) -> Gateway:
    """A running HAProxy, and the gateway that drives it."""
    haproxy.start()
    return haproxy.gateway()


def test_a_switch_touches_neither_the_config_nor_the_process(haproxy: RunningHaproxy, gateway: Gateway) -> None:
    before, info = haproxy.config.read_bytes(), haproxy.ask("show info")
    original = gateway.read()
    assert "zone-a-1=ready zone-b-1=maint" in original.hosts[0].choice
    activation = gateway.activate(gateway.stage("zone-b"))
    assert [haproxy.answer() for _ in range(4)] == ["zone-b"] * 4
    gateway.prove_applied(activation, 5)
    gateway.prove_applied(gateway.restore(original), 5)
    assert [haproxy.answer() for _ in range(4)] == ["zone-a"] * 4
    assert haproxy.config.read_bytes() == before
    pids = [
        next(line for line in text.splitlines() if line.startswith("Pid:")) for text in (info, haproxy.ask("show info"))
    ]
    assert pids[0] == pids[1]


def test_no_password_of_the_config_is_kept_and_a_changed_config_is_noticed(
    haproxy: RunningHaproxy, gateway: Gateway, tmp_path: Path
) -> None:
    haproxy.config.write_text(haproxy.config.read_text() + "    # stats auth ana:s3cret\n")
    original = gateway.read()
    kept = tmp_path / "run"
    kept.mkdir()
    snapshot.keep_original(kept, original)
    assert b"s3cret" not in b"".join(path.read_bytes() for path in kept.rglob("*") if path.is_file())
    again = snapshot.read_original(kept)
    assert again is not None
    assert again.hosts[0].choice == original.hosts[0].choice
    haproxy.config.write_text(haproxy.config.read_text() + "# Ana\n")
    assert gateway.read().hosts[0].content != original.hosts[0].content


def test_a_reload_in_the_middle_of_a_failover_does_not_send_clients_back(
    haproxy: RunningHaproxy, gateway: Gateway
) -> None:
    original = gateway.read()
    gateway.activate(gateway.stage("zone-b"))
    haproxy.reload()
    assert [haproxy.answer() for _ in range(4)] == ["zone-b"] * 4
    assert gateway.read().configured_zone == "zone-b"
    gateway.prove_applied(gateway.restore(original), 5)
    haproxy.reload()
    assert [haproxy.answer() for _ in range(4)] == ["zone-a"] * 4
    assert gateway.read() == original


def test_without_the_state_file_a_reload_sends_clients_back(haproxy: RunningHaproxy, gateway: Gateway) -> None:
    """The sabotage of the test above: it is the file that keeps them there."""
    gateway.activate(gateway.stage("zone-b"))
    haproxy.state_file.unlink()
    haproxy.reload()
    assert haproxy.answer() == "zone-a"


def test_a_state_file_that_was_there_comes_back_byte_for_byte(haproxy: RunningHaproxy, gateway: Gateway) -> None:
    haproxy.state_file.parent.mkdir()
    haproxy.state_file.write_text(haproxy.ask("show servers state"))
    haproxy.state_file.chmod(0o640)
    before = haproxy.state_file.read_bytes()
    original = gateway.read()
    gateway.activate(gateway.stage("zone-b"))
    assert haproxy.state_file.read_bytes() != before
    gateway.restore(original)
    assert haproxy.state_file.read_bytes() == before
    assert haproxy.state_file.stat().st_mode & 0o777 == 0o640
    assert gateway.read() == original


def test_a_way_back_needs_no_folder_where_there_was_no_state_file(haproxy: RunningHaproxy, gateway: Gateway) -> None:
    original = gateway.read()
    haproxy.ask("set server recognition/zone-a-1 state ready")
    gateway.restore(original)
    assert not haproxy.state_file.parent.exists()


def test_servers_that_someone_else_sets_meanwhile_are_left_alone(haproxy: RunningHaproxy, gateway: Gateway) -> None:
    original = gateway.read()
    staged = gateway.stage("zone-b")
    haproxy.ask("set server recognition/zone-b-1 state drain")
    with pytest.raises(GatewayError, match="someone changed") as caught:
        gateway.activate(staged)
    assert caught.value.state == "nothing was changed"
    with pytest.raises(GatewayError, match="someone else changed"):
        gateway.restore(original)
    assert "zone-b-1=drain" in gateway.read().hosts[0].choice


def test_another_process_restores_by_what_the_run_kept(haproxy: RunningHaproxy, gateway: Gateway) -> None:
    original = gateway.read()
    staged = gateway.stage("zone-b")
    gateway.activate(staged)
    fresh = haproxy.gateway()
    with pytest.raises(GatewayError, match="someone else changed"):
        fresh.restore(original)
    fresh.prove_applied(fresh.restore(original, over=[host.sha256 for host in staged.hosts]), 5)
    assert haproxy.answer() == "zone-a"


def test_a_switch_that_is_taken_back_behind_our_back_is_caught(haproxy: RunningHaproxy, gateway: Gateway) -> None:
    activation = gateway.activate(gateway.stage("zone-b"))
    haproxy.ask("set server recognition/zone-a-1 state ready; set server recognition/zone-b-1 state maint")
    with pytest.raises(GatewayError, match="took the commands, but its servers are"):
        gateway.prove_applied(activation, 1)


def test_a_switch_that_clients_do_not_see_is_caught_by_the_data_path(haproxy: RunningHaproxy, gateway: Gateway) -> None:
    """Clients come in by another backend than the one that is switched."""
    text = haproxy.config.read_text()
    other = text[text.index("\nbackend recognition") :].replace("backend recognition", "backend other")
    haproxy.config.write_text(text.replace("default_backend recognition", "default_backend other") + "\n" + other)
    haproxy.reload()
    activation = gateway.activate(gateway.stage("zone-b"))
    with pytest.raises(GatewayError, match="zone-a answers through this host, not zone-b"):
        gateway.prove_applied(activation, 0.5)


def test_a_config_that_would_forget_the_switch_is_refused(haproxy: RunningHaproxy) -> None:
    text = haproxy.config.read_text()
    haproxy.config.write_text(text.replace("    load-server-state-from-file global\n", ""))
    haproxy.start()
    with pytest.raises(GatewayError, match="no `load-server-state-from-file global`"):
        haproxy.gateway().stage("zone-b")


def test_what_a_config_lacks_is_named() -> None:
    good = (
        "global\n  server-state-base /var/lib/haproxy\n  server-state-file s # x\n"
        "defaults\n  load-server-state-from-file global\n"
    )
    assert missing_in_config(good, "/var/lib/haproxy/s") == []
    assert len(missing_in_config(good, "/elsewhere/s")) == 1
    assert len(missing_in_config("# server-state-file /s\n", "/s")) == 2


def test_a_socket_that_is_not_there_is_refused(haproxy: RunningHaproxy) -> None:
    haproxy.start()
    with pytest.raises(GatewayError, match="is no socket: does HAProxy run"):
        haproxy.gateway(socket=str(haproxy.folder / "none.sock")).read()


def test_a_haproxy_that_is_gone_since_is_refused(haproxy: RunningHaproxy, gateway: Gateway) -> None:
    staged = gateway.stage("zone-b")
    haproxy.socket.rename(haproxy.folder / "elsewhere.sock")
    with pytest.raises(GatewayError, match="does not list the servers of recognition") as caught:
        gateway.activate(staged)
    assert caught.value.state == "nothing was changed"


def test_a_socket_without_the_right_level_is_caught(haproxy: RunningHaproxy) -> None:
    haproxy.config.write_text(haproxy.config.read_text().replace("level admin", "level operator"))
    haproxy.start()
    gateway = haproxy.gateway()
    with pytest.raises(GatewayError, match="Permission denied"):
        gateway.activate(gateway.stage("zone-b"))
    assert haproxy.answer() == "zone-a"


def test_a_backend_that_is_not_there_is_named(haproxy: RunningHaproxy) -> None:
    haproxy.start()
    with pytest.raises(GatewayError, match="did not list the servers of `other`"):
        haproxy.gateway(backend="other").read()


def test_a_server_of_no_zone_is_refused(haproxy: RunningHaproxy) -> None:
    haproxy.config.write_text(haproxy.config.read_text() + "    server stray 127.0.0.1:9\n")
    haproxy.start()
    gateway = haproxy.gateway()
    assert "stray" in (gateway.read().reason or "")
    with pytest.raises(GatewayError, match="of no zone"):
        gateway.stage("zone-b")


@pytest.mark.parametrize("program", ["socat", "perl", "python3", "nc"])
def test_the_socket_is_spoken_to_by_whatever_program_there_is(haproxy: RunningHaproxy, program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} here")
    haproxy.start()
    source = haproxy_scripts.STATES
    for other in ("socat", "perl", "python3"):
        if other != program:
            source = source.replace(f"command -v {other} >", f"command -v no-{other} >")
    done = LocalTransport("gateway").script("asking", source, str(haproxy.socket), "recognition")
    assert "zone-b-1" in done.text


def test_a_host_where_no_program_can_speak_to_the_socket_is_told_what_to_install(haproxy: RunningHaproxy) -> None:
    haproxy.start()
    source = haproxy_scripts.STATES.replace("command -v ", "command -v no-").replace("nc -h", "no-nc -h")
    done = LocalTransport("gateway").script("asking", source, str(haproxy.socket), "recognition", check=False)
    assert done.exit_code == 3
    assert "install socat" in done.complaint


def test_clients_of_a_frozen_zone_get_the_fallback_in_bounded_time(haproxy: RunningHaproxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        text = haproxy.config.read_text().replace(haproxy.primary, f"127.0.0.1:{silent.getsockname()[1]}")
        haproxy.config.write_text(text.replace("timeout server 5s", "timeout server 1s"))
        haproxy.launch()
        wait_for(lambda: "zone-a-1" in haproxy.ask("show servers state"))
        begun = time.monotonic()
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://127.0.0.1:{haproxy.port}/predict", data=b"x", timeout=10)
        with caught.value as error:
            assert (error.code, error.read().decode()) == (503, FALLBACK)
        assert 0.9 < time.monotonic() - begun < 3


def test_clients_get_the_fallback_at_once_when_no_zone_answers(haproxy: RunningHaproxy, gateway: Gateway) -> None:
    haproxy.zone_a.close()
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://127.0.0.1:{haproxy.port}/predict", data=b"x", timeout=1.5)
    assert caught.value.code == 503
    assert caught.value.headers["Content-Type"] == "application/json"
    body = caught.value.read()
    assert body.decode() == FALLBACK
    assert json.loads(body).keys() == {"error", "fallback", "suggestion"}
    caught.value.close()
