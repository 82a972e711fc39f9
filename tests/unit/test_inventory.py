"""Inventories: every mistake is told with its place and with what is allowed, and what is read is what was written."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drillctl import inventory as inventories
from drillctl.errors import FileError

if TYPE_CHECKING:
    from pathlib import Path

    from drillctl.inventory import Inventory

SHA = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
HOSTS_B = "    hosts:\n      - name: b-1\n        address: 10.0.2.1\n"
ZONE_B = "  - name: zone-b\n    role: standby\n    failure_domain: hall 2\n" + HOSTS_B
AT_B = "        address: 10.0.2.1\n"

MISTAKES: list[tuple[str, str, list[str]]] = [
    # unknown keys
    (
        "ssh:\n",
        "shh:\n",
        [
            "31:1: unknown key `shh`; did you mean `ssh`? Allowed here: approver, environment, faults, gates, gateway, "
            "history, name, notify, participants, service, ssh, waivers, zones"
        ],
    ),
    (
        "    role: primary\n",
        "    rolle: primary\n",
        [
            "4:5: `zones.0.role` is missing",
            "5:5: unknown key `rolle`; did you mean `role`? Allowed here: environment, failure_domain, hosts, name, "
            "role",
        ],
    ),
    (
        "    unit: inference.service",
        "    unti: inference.service",
        [
            "21:3: `service.start.unit` is missing",
            "23:5: unknown key `unti`; did you mean `unit`? Allowed here: kind, unit",
        ],
    ),
    (
        AT_B,
        AT_B + "        color: blue\n",
        [
            "16:9: unknown key `color`. Allowed here: address, environment, log, model_path, name, pidfile, "
            "service_port, ssh, upstream"
        ],
    ),
    # wrong types
    ("port: 8000", "port: eight", ["17:3: `service.port` must be a valid integer, not 'eight'"]),
    ("port: 8000", "port: 8000.5", ["17:3: `service.port` must be a valid integer, not 8000.5"]),
    ("port: 8000", "port: true", ["17:3: `service.port` must be a valid integer, not True"]),
    ("port: 8000", "port: [8000]", ["17:3: `service.port` must be a valid integer"]),
    ("user: drill", "user: 3", ["32:3: `ssh.user` must be a string (in quotes), not 3"]),
    (f"sha256: {SHA}", "sha256: 1234", ["20:5: `service.model.sha256` must be a string (in quotes), not 1234"]),
    (HOSTS_B, "    hosts: b-1\n", ["13:5: `zones.1.hosts` must be a list"]),
    (HOSTS_B, "    hosts: [b-1]\n", ["13:13: `zones.1.hosts.0` must be keys with values"]),
    (
        "name: shop\n",
        "3: shop\n",
        ["1:1: `name` is missing", "1:1: key `3` must be a word (in quotes, if it is a number)"],
    ),
    # missing
    ("name: shop\n", "", ["1:1: `name` is missing"]),
    (HOSTS_B, "", ["10:5: `zones.1.hosts` is missing"]),
    (HOSTS_B, "    hosts: []\n", ["13:5: `zones.1.hosts` needs at least 1 entry"]),
    (ZONE_B, "", ["3:1: `zones` needs at least 2 entries"]),
    (ZONE_B, ZONE_B + ZONE_B.replace("zone-b", "zone-c"), ["3:1: `zones` takes at most 2 entries"]),
    ("    kind: systemd\n", "", ["21:3: `service.start.kind` is missing"]),
    ("    unit: inference.service\n", "", ["21:3: `service.start.unit` is missing"]),
    # values that are not allowed
    ("role: primary", "role: main", ["5:5: `zones.0.role` must be 'primary' or 'standby', not 'main'"]),
    (
        "environment: staging",
        "environment: prod",
        ["2:1: `environment` must be 'lab', 'staging' or 'production', not 'prod'"],
    ),
    ("kind: systemd", "kind: docker", ["21:3: `service.start.kind` must be one of 'systemd', 'process'"]),
    ("port: 8000", "port: 0", ["17:3: `service.port` must be greater than or equal to 1, not 0"]),
    ("port: 8000", "port: 65536", ["17:3: `service.port` must be less than or equal to 65535, not 65536"]),
    (
        SHA,
        SHA.upper(),
        ["20:5: `service.model.sha256` must be a sha256 in 64 lower-case hex digits, as sha256sum prints it"],
    ),
    (
        "name: a-1",
        "name: -rf",
        ["8:9: `zones.0.hosts.0.name` must be a name of letters, digits, `.`, `_` and `-`, at most 63, not '-rf'"],
    ),
    (
        AT_B,
        '        address: "10.0.2.1 -oProxyCommand=x"\n',
        ["15:9: `zones.1.hosts.0.address` must be an IP address or a host name, not '10.0.2.1 -oProxyCommand=x'"],
    ),
    (
        "unit: inference.service",
        "unit: inference",
        ["23:5: `service.start.unit` must be a systemd unit's name that ends in .service, not 'inference'"],
    ),
    (
        "url: http://10.0.0.1",
        "url: http://10.0.0.1/predict",
        [
            "28:3: `gateway.url` must be a URL such as http://gateway.example, without a path, not "
            "'http://10.0.0.1/predict'"
        ],
    ),
    ("url: http://10.0.0.1", "url: http://:80", ["28:3: the URL names no host, or no port that there is"]),
    ("url: http://10.0.0.1", "url: 'http://['", ["28:3: the URL names no host, or no port that there is"]),
    ("url: http://10.0.0.1", "url: http://10.0.0.1:70000", ["28:3: the URL names no host, or no port that there is"]),
    (
        "url: http://10.0.0.1",
        "url: http://user:s3cret@10.0.0.1",
        ["28:3: `gateway.url` must be a URL such as http://gateway.example, without a path"],
    ),
    (
        "config: /etc/nginx",
        "config: nginx",
        ["29:3: `gateway.config` must be an absolute path, not 'nginx/conf.d/recognition.conf'"],
    ),
    (
        "user: drill",
        "user: drill\n  connect_timeout_seconds: 0",
        ["33:3: `ssh.connect_timeout_seconds` must be greater than 0, not 0"],
    ),
    (
        "ssh:",
        "waivers:\n  - {check: isolation, reason: because}\nssh:",
        ["32:24: `waivers.0.reason` must have at least 10 characters, not 'because'"],
    ),
    # kinds of gateways
    (
        "gateway:\n",
        "gateway:\n  kind: apache\n",
        ["24:1: `gateway.kind` must be one of 'nginx', 'nginx-flag', 'nginx-passive', 'haproxy'"],
    ),
    (
        "  upstream: recognition\n",
        "  upstream: recognition\n  flag: /var/lib/a.standby\n",
        [
            "31:3: unknown key `flag`. Allowed here: access_log, config, error_log, hosts, kind, pidfile, reload, "
            "test, upstream, url"
        ],
    ),
    (
        "  upstream: recognition\n",
        "  upstream: recognition\n  kind: nginx-flag\n  flag: /var/lib/a;b\n",
        ["32:3: `gateway.flag` must be an absolute path of letters, digits, `.`, `_` and `-`, not '/var/lib/a;b'"],
    ),
    (
        "  upstream: recognition\n",
        "  upstream: recognition\n  kind: nginx-flag\n  standby: recognition\n",
        ["32:3: `recognition` is the primary's upstream; the standby needs its own"],
    ),
    (
        "  upstream: recognition\n",
        "  upstream: recognition\n  kind: haproxy\n",
        [
            "24:1: `gateway.backend` is missing",
            "30:3: unknown key `upstream`. Allowed here: backend, config, hosts, kind, program, socket, state_file, "
            "url",
        ],
    ),
    (
        "  upstream: recognition\n",
        "  kind: haproxy\n  backend: b\n  socket: /run/a b\n",
        ["32:3: `gateway.socket` must be the path of HAProxy's runtime socket, or its address:port, not '/run/a b'"],
    ),
    # contradictions
    ("role: standby", "role: primary", ["11:5: one zone must be `primary` and one `standby`; both say primary"]),
    ("name: zone-b", "name: zone-a", ["10:5: zone `zone-a` is named twice"]),
    ("name: b-1", "name: a-1", ["14:9: host `a-1` is named twice (also zones.0.hosts.0)"]),
    ("name: gateway", "name: a-1", ["26:7: host `a-1` is named twice (also zones.0.hosts.0)"]),
    (
        "10.0.2.1",
        "10.0.1.1",
        ["15:9: address 10.0.1.1 is used twice: by `a-1` and `b-1`; each host needs its own"],
    ),
    ("name: shop\n", "name: shop\nname: shop2\n", ["2:1: key `name` is there twice (first in line 1)"]),
]


def problems_of(file: Path, text: str) -> list[str]:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(FileError) as caught:
        inventories.load(file)
    assert all(problem.startswith(f"{file}:") for problem in caught.value.problems)
    return [problem.removeprefix(f"{file}:") for problem in caught.value.problems]


@pytest.mark.parametrize(("old", "new", "problems"), MISTAKES, ids=lambda v: repr(v)[:40] if isinstance(v, str) else "")
def test_a_mistake_is_told_with_its_place_and_what_is_allowed(
    tmp_path: Path, inventory_text: str, old: str, new: str, problems: list[str]
) -> None:
    assert old in inventory_text
    assert problems_of(tmp_path / "inventory.yaml", inventory_text.replace(old, new, 1)) == problems


@pytest.mark.parametrize(
    ("old", "new", "problems"),
    [
        (
            "    pidfile: /run/inference.pid\n",
            "",
            [
                "8:9: `a-1` needs a `pidfile`, here or in service.start",
                "14:9: `b-1` needs a `pidfile`, here or in service.start",
            ],
        ),
        ("[-m, inference, serve]", "[]", ["23:5: `service.start.command` needs at least 1 entry"]),
        ("[-m, inference, serve]", "-m inference", ["23:5: `service.start.command` must be a list"]),
        ("[-m, inference, serve]", "[-m, 3]", ["23:19: `service.start.command.1` must be a string (in quotes), not 3"]),
        (
            "interpreter: /opt/conda",
            "intrepreter: /opt/conda",
            [
                "24:5: unknown key `intrepreter`; did you mean `interpreter`? Allowed here: command, environment, "
                "interpreter, kind, log, pidfile, working_folder"
            ],
        ),
        ("API_TOKEN", "API-TOKEN", ["28:7: `service.start.environment.API-TOKEN` must be a variable's name"]),
    ],
)
def test_a_mistake_in_how_a_process_is_started_is_told(
    tmp_path: Path, process_text: str, old: str, new: str, problems: list[str]
) -> None:
    assert old in process_text
    assert problems_of(tmp_path / "inventory.yaml", process_text.replace(old, new, 1)) == problems


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("API_TOKEN: s3cret", "API_TOKEN: 53773"),
        ("API_TOKEN: s3cret", 'API_TOKEN: "s3cret\\nline"'),
        ("API_TOKEN: s3cret", "API_TOKEN: [s3cret]"),
        ("API_TOKEN: s3cret", "API_TOKEN: s3cret\n      API_TOKEN: 53773"),
    ],
)
def test_no_message_holds_the_value_of_a_variable(tmp_path: Path, process_text: str, old: str, new: str) -> None:
    (problem,) = problems_of(tmp_path / "inventory.yaml", process_text.replace(old, new, 1))
    assert "API_TOKEN" in problem
    assert "s3cret" not in problem
    assert "53773" not in problem


def test_all_mistakes_are_told_at_once(tmp_path: Path, inventory_text: str) -> None:
    text = (
        inventory_text.replace("port: 8000", "port: 0").replace("role: primary", "role: main").replace("user:", "usr:")
    )
    found = problems_of(tmp_path / "inventory.yaml", text)
    assert [problem.split(":")[0] for problem in found] == ["5", "17", "32"]


def test_a_host_of_the_gateway_needs_no_pidfile_of_the_service(tmp_path: Path, process_text: str) -> None:
    text = process_text.replace("    pidfile: /run/inference.pid\n", "")
    for host in ("10.0.1.1", "10.0.2.1"):
        text = text.replace(
            f"        address: {host}\n", f"        address: {host}\n        pidfile: /run/{host}.pid\n"
        )
    file = tmp_path / "inventory.yaml"
    file.write_text(text)
    assert inventories.load(file).zone("primary").hosts[0].pidfile == "/run/10.0.1.1.pid"


def test_what_is_read_is_what_was_written(estate: Inventory) -> None:
    assert [host.name for host in estate.hosts] == ["gateway", "a-1", "b-1"]
    assert estate.zone("standby").name == "zone-b"
    standby = estate.zone("standby").hosts[0]
    assert estate.upstream(standby) == "10.0.2.1:8000"
    assert estate.base_url(standby) == "http://10.0.2.1:8000"
    assert estate.zone_of("b-1") == estate.zone("standby")
    assert estate.zone_of("gateway") is None
    assert estate.environment_of(standby) == {
        "SERVICE_NAME": "backup",
        "ZONE": "zone-b",
        "NODE_NAME": "b-1",
        "PORT": "8000",
        "MODEL_PATH": "/srv/model/model.safetensors",
        "MODEL_SHA256": SHA,
    }


def test_what_a_host_says_goes_before_what_all_say(tmp_path: Path, process_text: str) -> None:
    file = tmp_path / "inventory.yaml"
    file.write_text(
        process_text.replace(
            AT_B,
            AT_B + "        service_port: 8100\n        environment: {API_TOKEN: own, LOG_LEVEL: debug}\n"
            "        ssh: {user: root, sudo: true}\n",
        )
    )
    found = inventories.load(file)
    host = found.zone("standby").hosts[0]
    assert found.environment_of(host) | {"PORT": "8100", "API_TOKEN": "own", "LOG_LEVEL": "debug"} == (
        found.environment_of(host)
    )
    login = found.login(host)
    assert (login.user, login.sudo) == ("root", True)
    assert found.login(found.hosts[0]).user == "drill"


@pytest.mark.parametrize(
    ("everywhere", "there", "by"),
    [
        ("", "{}", "login"),
        ("  sudo: true\n", "{}", "sudo"),
        ("  privileges: sudo\n", "{}", "sudo"),
        ("  privileges: installed\n", "{}", "installed"),
        ("  privileges: installed\n", "{sudo: true}", "sudo"),
        ("  privileges: installed\n", "{sudo: false}", "login"),
        ("  privileges: installed\n", "{privileges: login}", "login"),
        ("  sudo: true\n", "{privileges: installed}", "installed"),
        ("  privileges: sudo\n  sudo: true\n", "{}", "sudo"),
    ],
)
def test_how_what_needs_root_is_run(tmp_path: Path, inventory_text: str, everywhere: str, there: str, by: str) -> None:
    file = tmp_path / "inventory.yaml"
    file.write_text(inventory_text.replace(AT_B, f"{AT_B}        ssh: {there}\n") + everywhere)
    found = inventories.load(file)
    assert found.login(found.zone("standby").hosts[0]).by == by


@pytest.mark.parametrize("user", ["user: root", "port: 22"])
def test_installed_programs_are_for_a_user_of_their_own(tmp_path: Path, inventory_text: str, user: str) -> None:
    file = tmp_path / "inventory.yaml"
    file.write_text(inventory_text.replace("user: drill", user) + "  privileges: installed\n")
    with pytest.raises(FileError, match=r"`privileges: installed` (needs `user`|is for a user)") as refused:
        inventories.load(file)
    assert refused.value.problems[0].startswith(f"{file}:31:")


def test_a_socket_that_everybody_may_speak_to_is_not_for_installed_programs(
    tmp_path: Path, inventory_text: str
) -> None:
    file = tmp_path / "inventory.yaml"
    text = inventory_text.replace("gateway:\n", "gateway:\n  kind: haproxy\n  socket: 127.0.0.1:9999\n")
    text = text.replace("  config: /etc/nginx/conf.d/recognition.conf\n  upstream:", "  backend:")
    file.write_text(text)
    inventories.load(file)
    file.write_text(text + "  privileges: installed\n")
    with pytest.raises(FileError, match="needs the path of a socket that only root may open") as refused:
        inventories.load(file)
    assert refused.value.problems[0].startswith(f"{file}:26:")


def test_two_ways_at_once_are_refused(tmp_path: Path, inventory_text: str) -> None:
    file = tmp_path / "inventory.yaml"
    file.write_text(inventory_text + "  sudo: true\n  privileges: installed\n")
    with pytest.raises(FileError, match="`sudo: true` contradicts `privileges: installed`; leave `sudo` out"):
        inventories.load(file)


def test_paths_of_keys_are_relative_to_the_file(tmp_path: Path, inventory_text: str) -> None:
    file = tmp_path / "inventory.yaml"
    file.write_text(inventory_text + "  key: keys/id\n  known_hosts: /etc/ssh/known\n")
    login = inventories.load(file).ssh
    assert login.key == tmp_path / "keys" / "id"
    assert str(login.known_hosts) == "/etc/ssh/known"


SCRAPS = st.sampled_from(
    ["", " ", "- ", ": ", "[", "]", "{", "}", "&a ", "*a", "<<: *a", "!!bool ", "!!binary ", "'", '"', "#", "|", "> ",
     "\t", "\n", "---\n", "? ", "~", "0x", "1e999", ".nan", "2001-01-01", "\u2028", "\u3000", "null", "primary", "3"]
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32), st.lists(SCRAPS, min_size=1, max_size=6))
def test_a_mangled_inventory_gives_a_model_or_a_clear_error(
    tmp_path: Path, inventory_text: str, seed: int, scraps: list[str]
) -> None:
    chance = random.Random(seed)
    text = inventory_text
    for scrap in scraps:
        begin = chance.randrange(len(text))
        text = text[:begin] + scrap + text[begin + chance.choice((0, 0, 1, 3, 40)) :]
    file = tmp_path / "inventory.yaml"
    file.write_text(text, encoding="utf-8")
    try:
        found = inventories.load(file)
    except FileError as error:
        problems = error.problems
    else:
        assert found.zone("primary") != found.zone("standby")
        return
    assert problems
    for problem in problems:
        assert re.match(re.escape(str(file)) + r":\d+:\d+: \S", problem), problem


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ("  upstream: u\n", "nginx"),
        ("  upstream: u\n  kind: nginx\n", "nginx"),
        ("  upstream: u\n  kind: nginx-flag\n", "nginx-flag"),
        ("  upstream: u\n  kind: nginx-passive\n", "nginx-passive"),
        ("  backend: u\n  kind: haproxy\n", "haproxy"),
    ],
)
def test_a_gateway_is_of_the_kind_that_it_says_and_else_nginx(
    tmp_path: Path, inventory_text: str, lines: str, kind: str
) -> None:
    file = tmp_path / "inventory.yaml"
    file.write_text(inventory_text.replace("  upstream: recognition\n", lines))
    assert inventories.load(file).gateway.kind == kind


def test_a_key_in_the_home_of_nobody_is_told_with_its_place(inventory_file: Path) -> None:
    inventory_file.write_text(inventory_file.read_text() + "  key: ~nosuchuser/id\n")
    with pytest.raises(FileError, match=r":\d+:3: `ssh.key` must be a path of this machine; whose home `~nosuchuser`"):
        inventories.load(inventory_file)
