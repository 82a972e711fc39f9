"""The state of an estate, over hosts in memory: what the gateway names, names not, or does not let anybody know."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from drillctl import overview
from drillctl.errors import DrillctlError, LoginRefused
from drillctl.gateway import nginx_scripts
from drillctl.hosts.fleet import Fleet
from drillctl.hosts.scripted import Answer, Page, Ran, ScriptedTransport
from drillctl.routing import Served

if TYPE_CHECKING:
    import pytest

    from drillctl.inventory import Inventory

BOTH = b"upstream recognition {\n    server 10.0.1.1:8000;\n    server 10.0.2.1:8000;\n}\n"


def seen(
    estate: Inventory, monkeypatch: pytest.MonkeyPatch, config: Answer, errors: dict[str, DrillctlError]
) -> overview.Overview:
    def reply(ran: Ran) -> Answer:
        if ran.argv[0] == "sha256sum":
            return Answer(f"{estate.service.model.sha256}  model\n".encode())
        if nginx_scripts.READ in ran.argv:
            return config
        return Answer(b"LoadState=loaded\nActiveState=active\nSubState=running\nPids=42\nHeld=no\n")

    def server(address: str, path: str, body: bytes) -> Page:
        primary = address.startswith("10.0.1.")
        info = {"service": "main" if primary else "backup", "is_primary": primary, "status": "healthy"}
        return Page(json.dumps({**info, "model": {"sha256": estate.service.model.sha256}}).encode())

    transports = {host.name: ScriptedTransport(host.name, reply, server=server) for host in estate.hosts}
    fleet = Fleet(estate, {name: transport for name, transport in transports.items() if name not in errors})
    monkeypatch.setattr(overview, "connect_all", lambda _: (fleet, errors))
    monkeypatch.setattr(overview, "ask_as_client", lambda _: Served("zone-a", 200))
    return overview.overview(estate)


def test_a_gateway_that_names_both_zones_names_no_single_one(
    estate: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = seen(estate, monkeypatch, Answer(b"/etc/nginx/conf.d/recognition.conf\n644 0:0\n" + BOTH), {})
    assert str(found.configured) == "the gateway is configured for no single zone"
    assert found.configured.reason in found.problems
    assert found.document()["gateway"]["configured_known"] is True


def test_a_config_that_cannot_be_read_leaves_the_zone_unknown(
    estate: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = seen(estate, monkeypatch, Answer(exit_code=1, stderr=b"sudo: a password is required\n"), {})
    assert str(found.configured).startswith("what the gateway is configured for is unknown: gateway: ")
    assert len([problem for problem in found.problems if "sudo: a password is required" in problem]) == 1


def test_a_gateway_that_refuses_the_login_leaves_the_zone_unknown(
    estate: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = LoginRefused("drill@10.0.0.1:22 refused the login", host="gateway")
    found = seen(estate, monkeypatch, Answer(), {"gateway": refused})
    assert str(found.configured) == "what the gateway is configured for is unknown: gateway cannot be reached"
    assert found.problems == ("gateway: drill@10.0.0.1:22 refused the login",)
    assert found.document()["gateway"]["hosts"] == [{"name": "gateway", "reachable": False}]
