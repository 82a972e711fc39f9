"""Adopting the config of a real nginx: tested before it goes live, proven, put back byte for byte; and the fallback."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from drillctl.errors import GatewayError, HostError, NotStarted
from drillctl.gateway import adoption as adoptions
from drillctl.gateway.adoption import Adoption
from drillctl.gateway.nginx_adoption import adopt
from drillctl.gateway.nginx_host import NginxHost
from drillctl.guard.client import GuardClient
from drillctl.hosts.local import LocalTransport
from drillctl.inventory import Nginx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from drillctl.errors import DrillctlError

    from .conftest import RunningHaproxy, RunningNginx


class Elsewhere(LocalTransport):
    """This machine with a home of the test's own for its guard, and a user who is not root to it."""

    def __init__(self, folder: Path) -> None:
        super().__init__("gateway")
        self.folder = folder
        bin_folder = folder / "bin"
        bin_folder.mkdir(exist_ok=True)
        (bin_folder / "id").write_text("#!/bin/sh\necho 1000\n")
        (bin_folder / "id").chmod(0o755)

    def execute(self, command: str, stdin: bytes, timeout: float) -> tuple[int, bytes, bytes]:
        home = shlex.quote(str(self.folder))
        return super().execute(f"export HOME={home} PATH={home}/bin:$PATH; {command}", stdin, timeout)


def adoption(nginx: RunningNginx, **options: object) -> Adoption:
    own = {"kind": "nginx-flag", "flag": str(nginx.flag), **options}
    return Adoption(nginx.inventory(**own), {"gateway": Elsewhere(nginx.folder)})


def test_a_config_is_adopted_and_put_back_byte_for_byte(nginx: RunningNginx) -> None:
    nginx.live.chmod(0o640)
    before = nginx.live.read_bytes()
    nginx.start()
    it = adoption(nginx)
    plans = it.plan()
    assert "if (-f " in plans["gateway"].diff
    assert nginx.live.read_bytes() == before, "planning changes nothing"
    it.carry_out(plans)
    assert nginx.answer() == "zone-a"
    assert nginx.live.stat().st_mode & 0o777 == 0o640
    assert not it.plan()["gateway"].changes
    kept = nginx.live.with_name(".drillctl-adopted-service.conf")
    assert kept.read_bytes() == before
    gateway = nginx.gateway(kind="nginx-flag", flag=str(nginx.flag))
    original = gateway.read()
    gateway.prove_applied(gateway.activate(gateway.stage("zone-b")), 5)
    assert nginx.answer() == "zone-b"
    gateway.prove_applied(gateway.restore(original), 5)

    it.undo(it.plan_undo())
    assert nginx.live.read_bytes() == before
    assert nginx.live.stat().st_mode & 0o777 == 0o640
    assert nginx.leftovers() == []
    assert nginx.answer() == "zone-a"
    assert not it.plan_undo()["gateway"].changes


def test_what_is_adopted_again_for_another_kind_keeps_the_first_original(nginx: RunningNginx) -> None:
    before = nginx.live.read_bytes()
    nginx.start()
    only_fallback = Adoption(nginx.inventory(), {"gateway": Elsewhere(nginx.folder)})
    only_fallback.carry_out(only_fallback.plan())
    it = adoption(nginx)
    it.carry_out(it.plan())
    it.undo(it.plan_undo())
    assert nginx.live.read_bytes() == before


def test_a_config_that_was_edited_since_is_not_overwritten(nginx: RunningNginx) -> None:
    nginx.start()
    it = adoption(nginx)
    it.carry_out(it.plan())
    edited = nginx.live.read_bytes() + b"# Ana\n"
    nginx.live.write_bytes(edited)
    with pytest.raises(GatewayError, match="changed since it was adopted"):
        it.plan_undo()
    assert nginx.live.read_bytes() == edited


def test_a_change_that_nginx_refuses_leaves_nothing(nginx: RunningNginx) -> None:
    """The file is one of two that hold the same server name and location: only a test of the whole tree can know."""
    nginx.live.with_name("other.conf").write_text("upstream service_standby { server 127.0.0.1:9; }\n")
    before = nginx.live.read_bytes()
    nginx.start()
    it = adoption(nginx)
    with pytest.raises(GatewayError, match="duplicate upstream"):
        it.carry_out(it.plan())
    assert nginx.live.read_bytes() == before
    assert nginx.leftovers() == []
    assert nginx.answer() == "zone-a"


def test_a_change_that_is_not_applied_is_taken_back(nginx: RunningNginx, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reload says 0 and does nothing, once."""
    before = nginx.live.read_bytes()
    nginx.start()
    monkeypatch.setattr(adoptions, "WITHIN", 2.0)
    mark = nginx.folder / "no-reload"
    mark.touch()
    words = f"if [ -e '{mark}' ]; then rm '{mark}'; else {' '.join(nginx.reload)}; fi"
    it = adoption(nginx, reload=["sh", "-c", words])
    plans = it.plan()
    with pytest.raises(GatewayError, match="not in force") as caught:
        it.carry_out(plans)
    assert "from before is back" in (caught.value.state or "")
    assert nginx.live.read_bytes() == before
    assert nginx.leftovers() == []


def test_an_original_that_could_not_be_put_back_stays_kept(
    nginx: RunningNginx, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = nginx.live.read_bytes()
    nginx.start()
    it = adoption(nginx)
    plans = it.plan()
    with monkeypatch.context() as patch:
        patch.setattr(NginxHost, "prove_applied", fails(GatewayError("it is not in force")))
        patch.setattr(NginxHost, "restore", fails(HostError("the connection is lost", host="gateway")))
        with pytest.raises(GatewayError, match="it is not in force") as caught:
            it.carry_out(plans)
    assert "could NOT be put back everywhere (gateway: the connection is lost)" in (caught.value.state or "")
    assert nginx.live.read_bytes() == plans["gateway"].content
    it.undo(it.plan_undo())
    assert nginx.live.read_bytes() == before
    assert nginx.leftovers() == []


def test_what_failed_to_be_adopted_again_can_still_be_undone(
    nginx: RunningNginx, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = nginx.live.read_bytes()
    nginx.start()
    only_fallback = Adoption(nginx.inventory(), {"gateway": Elsewhere(nginx.folder)})
    only_fallback.carry_out(only_fallback.plan())
    it = adoption(nginx)
    with monkeypatch.context() as patch:
        patch.setattr(adoptions.data_path, "prove", fails(GatewayError("nobody answers")))
        with pytest.raises(GatewayError, match="nobody answers"):
            it.carry_out(it.plan())
    it.undo(it.plan_undo())
    assert nginx.live.read_bytes() == before
    assert nginx.leftovers() == []


def fails(error: DrillctlError) -> Callable[..., None]:
    def raised(*_: object) -> None:
        raise error

    return raised


def test_nothing_is_adopted_while_the_flag_is_there(nginx: RunningNginx) -> None:
    nginx.start()
    nginx.flag.parent.mkdir()
    nginx.flag.touch()
    it = adoption(nginx)
    with pytest.raises(GatewayError, match="clients would go from one zone to the other"):
        it.carry_out(it.plan())
    assert nginx.answer() == "zone-a"


def test_nothing_is_adopted_while_a_drill_holds_the_lease(nginx: RunningNginx) -> None:
    before = nginx.live.read_bytes()
    nginx.start()
    guard = GuardClient(Elsewhere(nginx.folder))
    guard.acquire("run-7", "Ana@desk pid 5", 30)
    try:
        it = adoption(nginx)
        with pytest.raises(NotStarted, match="a drill holds the lease: run-7, by Ana@desk"):
            it.carry_out(it.plan())
    finally:
        guard.release()
    assert nginx.live.read_bytes() == before
    assert nginx.leftovers() == [nginx.folder / ".drillctl"]


def test_haproxy_is_not_adopted(haproxy: RunningHaproxy) -> None:
    with pytest.raises(NotStarted, match="is not adopted"):
        Adoption(haproxy.inventory(), {"gateway": LocalTransport("gateway")})


@pytest.fixture
def adopted(nginx: RunningNginx) -> RunningNginx:
    """A running nginx with the fallback."""
    nginx.adopt()
    nginx.start()
    return nginx


def fallback(nginx: RunningNginx, path: str = "/predict") -> tuple[int, str, bytes, float]:
    """POST as a client; return status, content type, body and seconds of the error that it gets."""
    begun = time.monotonic()
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://127.0.0.1:{nginx.port}{path}", data=b"x" * 100_000, timeout=30)
    error = caught.value
    with error:
        return error.code, error.headers["Content-Type"], error.read(), time.monotonic() - begun


@pytest.mark.parametrize("path", ["/predict", "/a.png"])
def test_clients_get_the_fallback_at_once_when_no_zone_answers(adopted: RunningNginx, path: str) -> None:
    adopted.zone_a.close()
    status, kind, body, seconds = fallback(adopted, path)
    assert (status, kind) == (503, "application/json")
    document = json.loads(body)
    assert document["error"] == "service_unavailable"
    assert document["fallback"] is True
    assert document["suggestion"]
    assert seconds < 1.5


@pytest.fixture
def silent() -> Iterator[int]:
    """A port on which connections are accepted, by the kernel, and nobody ever answers: a frozen server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_clients_of_a_frozen_zone_get_the_fallback_in_bounded_time(nginx: RunningNginx, silent: int) -> None:
    nginx.live.write_text(nginx.live.read_text().replace(nginx.primary, f"127.0.0.1:{silent}"))
    inventory = nginx.inventory()
    assert isinstance(inventory.gateway, Nginx)
    address = f"127.0.0.1:{silent}"
    nginx.live.write_bytes(adopt(nginx.live.read_bytes(), inventory.gateway, [address], [nginx.standby]))
    subprocess.run([*nginx.test[:-1]], check=True, capture_output=True, cwd=nginx.folder)
    nginx.wait_for(lambda: nginx.pidfile.exists() and nginx.pidfile.read_text().strip() != "")
    status, _, body, seconds = fallback(nginx)
    assert (status, json.loads(body)["fallback"]) == (503, True)
    assert 4.0 < seconds < 8.0, "proxy_read_timeout is 5 s"


def test_an_error_that_the_server_itself_gives_is_passed_on(adopted: RunningNginx) -> None:
    """Its own 503 says more than ours: nginx must not replace it."""
    adopted.zone_a.status = 503
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://127.0.0.1:{adopted.port}/", timeout=5)
    with caught.value as error:
        assert (error.code, error.read()) == (503, b"zone-a")
