"""What the guards are told, from undo and inventory (pure); and what is read of what they say."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from drillctl.errors import HostError, NotStarted
from drillctl.gateway.gateway import GatewayConfig, HostConfig, Staged, StagedHost
from drillctl.gateway.state_file import StateFile
from drillctl.guard import orders
from drillctl.guard.lease import Held, Holding, Order, parse
from drillctl.inventory import Inventory
from drillctl.undo import Undo

SHA = "0" * 64


def inventory(**start: object) -> Inventory:
    return Inventory.model_validate(
        {
            "name": "estate",
            "zones": (
                {
                    "name": "a",
                    "role": "primary",
                    "failure_domain": "1",
                    "hosts": (
                        {"name": "a-1", "address": "10.0.0.1", "environment": {"TOKEN": "it's secret"}},
                        {"name": "a-2", "address": "10.0.0.2", "upstream": "front-a-2"},
                    ),
                },
                {
                    "name": "b",
                    "role": "standby",
                    "failure_domain": "2",
                    "hosts": ({"name": "b-1", "address": "10.0.0.3"},),
                },
            ),
            "service": {"port": 8080, "model": {"path": "/m", "sha256": SHA}, "start": start},
            "gateway": {
                "hosts": ({"name": "g-1", "address": "10.0.0.9"}, {"name": "g-2", "address": "10.0.0.8"}),
                "url": "http://10.0.0.9",
                "config": "/etc/nginx/conf.d/a.conf",
                "upstream": "u",
                "reload": ("nginx", "-s", "re load"),
            },
        }
    )


SYSTEMD = inventory(kind="systemd", unit="inference.service")
PROCESS = inventory(
    kind="process",
    command=("-m", "serve me"),
    interpreter="/opt/python",
    working_folder="/srv",
    pidfile="/run/s.pid",
    environment={"B": "1 2"},
)


def revive(inventory: Inventory, **arguments: str) -> orders.Order:
    """Return the order that starts the primary's server again."""
    host = inventory.zone("primary").hosts[0]
    return orders.of_zone(inventory, host, Undo("service.revive", host.name, "", arguments))


def test_a_units_undo_names_its_hold() -> None:
    assert revive(SYSTEMD).arguments == (
        "systemd",
        "inference.service",
        "/run/systemd/system/inference.service.d/90-drillctl-hold.conf",
    )
    assert orders.memory(SYSTEMD, SYSTEMD.zone("primary").hosts[0]) == b""


def test_a_processs_command_is_not_in_its_undo() -> None:
    assert revive(PROCESS).arguments == ("process",)
    lines = orders.memory(PROCESS, PROCESS.zone("primary").hosts[0]).decode().splitlines()
    assert lines[:7] == ["/run/s.pid", "/srv", "/run/s.pid.log", "3", "/opt/python", "-m", "serve me"]
    assert "TOKEN=it's secret" in lines[7:]
    assert "B=1 2" in lines[7:]


def test_a_command_with_a_newline_is_refused_before_anything_is_changed() -> None:
    odd = inventory(kind="process", command=("sh", "-c", "a\nb"), working_folder="/srv", pidfile="/run/s.pid")
    with pytest.raises(NotStarted, match="newline"):
        orders.memory(odd, odd.zone("primary").hosts[0])


def config(host: str) -> HostConfig:
    return HostConfig(host, "/etc/nginx/conf.d/a.conf", "/real/a.conf", b"original", "f" * 64, 0o640, "0:33", ())


def test_the_restore_asks_every_primary_and_may_replace_only_what_was_staged() -> None:
    original = GatewayConfig((config("g-1"), config("g-2")), "a")
    staged = Staged("b", (StagedHost("g-1", "", b"", "e" * 64, "", "", ""),))
    made = orders.restore(SYSTEMD, original, staged)
    assert made["g-1"].kept == b"original"
    assert made["g-1"].arguments == (
        "/real/a.conf",
        "f" * 64,
        "640",
        "0:33",
        "e" * 64,
        "nginx -s 're load'",
        "http://10.0.0.1:8080/health",
        "http://front-a-2:8080/health",
    )
    # Where nothing was staged there is nothing but the original that may be replaced.
    assert made["g-2"].arguments[4] == "f" * 64


def of_kind(**gateway: object) -> Inventory:
    document = SYSTEMD.model_dump()
    hosts, url = document["gateway"]["hosts"], document["gateway"]["url"]
    return Inventory.model_validate({**document, "gateway": {"hosts": hosts, "url": url, **gateway}})


def test_a_flag_goes_when_the_primary_answers_and_one_that_was_there_comes_back_when_the_standby_does() -> None:
    estate = of_kind(kind="nginx-flag", config="/c", upstream="u", flag="/run/u.standby")
    was = "flag 640 0:33 416e610a"
    original = GatewayConfig((replace(config("g-1"), choice="flag absent"), replace(config("g-2"), choice=was)), "a")
    staged = Staged("b", (StagedHost("g-1", "", b"", "e" * 64, "", "", ""),))
    made = orders.restore(estate, original, staged)
    assert (made["g-1"].id, made["g-1"].kind) == ("gateway.restore", "gateway.flag")
    urls = ("http://10.0.0.1:8080/health", "http://front-a-2:8080/health")
    assert made["g-1"].arguments == ("/run/u.standby", "-", "-", "-", "e" * 64, *urls)
    assert made["g-2"].kept == b"Ana\n"
    assert made["g-2"].arguments[0] == "/run/u.standby"
    assert made["g-2"].arguments[1] == hashlib.sha256(b"Ana\n").hexdigest()
    assert made["g-2"].arguments[2:4] == ("640", "0:33")
    assert made["g-2"].arguments[5:] == ("http://10.0.0.3:8080/health",)


def test_haproxys_servers_are_set_as_they_were_and_the_state_file_is_kept() -> None:
    estate = of_kind(kind="haproxy", backend="u", socket="/run/h.sock", state_file="/var/s")
    file = StateFile(b"1\n", "640", "0:0")
    choice = f"a-1=ready b-1=maint at 10.0.0.1:8080 10.0.0.3:8080 | {file.in_words()}"
    original = GatewayConfig((replace(config("g-1"), choice=choice),), "a")
    staged = Staged("b", (StagedHost("g-1", "", b"a-1=maint b-1=ready", "", "", "", ""),))
    (made,) = orders.restore(estate, original, staged).values()
    assert (made.id, made.kind, made.kept) == ("gateway.restore", "gateway.haproxy", b"1\n")
    assert made.arguments == (
        "/run/h.sock",
        file.words[0],
        "u",
        "a-1=ready b-1=maint",
        "a-1=maint b-1=ready",
        "set server u/a-1 state ready; set server u/b-1 state maint",
        "/var/s",
        "640",
        "0:0",
        "http://10.0.0.1:8080/health",
        "http://front-a-2:8080/health",
    )


def test_a_gateway_that_is_not_switched_needs_no_undo() -> None:
    estate = of_kind(kind="nginx-passive", config="/c", upstream="u")
    assert orders.restore(estate, GatewayConfig((config("g-1"),), "a"), None) == {}


@pytest.mark.parametrize(
    ("undo", "hosts"),
    [
        (Undo("service.revive", "a-1", ""), ("a-1",)),
        (Undo("service.stop", "a-1", ""), ()),
        (Undo("gateway.discard", "", ""), ("g-1", "g-2")),
        (Undo("gateway.restore", "", ""), ("g-1", "g-2")),
    ],
)
def test_which_guards_hold_an_undo(undo: Undo, hosts: tuple[str, ...]) -> None:
    assert orders.hosts_of(SYSTEMD, undo) == hosts


def test_what_a_guard_shows_is_read_back() -> None:
    text = (
        "state held\nepoch 7\nrun r 1\nowner me pid 3\nsince 2026-01-01T00:00:00Z\nttl 20\nremaining 12\n"
        "undo gateway.discard\nkind gateway.discard\nargument /a b\nargument \nundo x\nkind y\nlog then this\n"
    )
    assert parse("h", text) == Holding(
        host="h",
        state="held",
        epoch=7,
        run="r 1",
        owner="me pid 3",
        since="2026-01-01T00:00:00Z",
        ttl=20,
        remaining=12,
        orders=(Order("gateway.discard", "gateway.discard", ("/a b", "")), Order("x", "y")),
        log=("then this",),
    )


@pytest.mark.parametrize("text", ["", "sh: not found", "state odd", "state held\nepoch x"])
def test_what_is_no_lease_is_an_error(text: str) -> None:
    with pytest.raises(HostError, match="no lease"):
        parse("h", text)


def test_who_is_refused_hears_who_since_and_until() -> None:
    held = Held(Holding("g-1", "held", 3, "run-9", "ann@desk pid 5", "2026-01-01T00:00:00Z", 20, 15))
    assert all(word in str(held) for word in ("g-1", "run-9", "ann@desk", "since 2026", "until 20"))
    assert held.exit_code == 4
    stuck = Held(
        Holding("g-1", "stuck", 3, "run-9", "ann", "2026", orders=(Order("gateway.restore", "gateway.restore"),))
    )
    assert "unfinished" in str(stuck)
    assert "gateway.restore" in str(stuck)
    assert "recover" in str(stuck.hint)
    beside = Held(parse("g-1", "state held\nepoch 3\nrun run-9\nbeside /var/lib/drillctl/gateway\n"))
    assert "its inventory calls this machine gateway" in str(beside)
    assert "sh /var/lib/drillctl/gateway/guard.sh /var/lib/drillctl/gateway break run-9" in str(beside.hint)
