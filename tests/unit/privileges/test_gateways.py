"""The programs of every kind of gateway take the estate's own words, one by one, and no others; so does the guard."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from drillctl.gateway import flag as flags
from drillctl.gateway.flag import Flag
from drillctl.gateway.gateway import GatewayConfig, HostConfig, Staged, StagedHost
from drillctl.gateway.state_file import StateFile
from drillctl.guard import orders
from drillctl.guard.client import GuardClient
from drillctl.guard.guards import owner
from drillctl.inventory import Haproxy, NginxFlag
from drillctl.privileges import haproxy, registry
from drillctl.privileges.argument import PRELUDE
from drillctl.privileges.program import REFUSED

from .test_agreement import RUN_ID, Asked

if TYPE_CHECKING:
    from pathlib import Path

    from drillctl.inventory import Inventory

SHA = "0123456789abcdef" * 4
OTHER_SHA = "f" * 64
SWITCH = "set server recognition/b state ready; set server recognition/a state maint"
NOW = "a=ready b=maint"
FLAG = "/var/lib/drillctl-flags/recognition.standby"
CANDIDATE = f"/var/lib/drillctl-flags/.drillctl-{RUN_ID}.flag"
PIDFILE, ERRORS = "/run/nginx.pid", "/var/log/nginx/error.log"
SOCKET, STATES = "/run/haproxy/admin.sock", "/var/lib/haproxy/server-state"
CONFIG = "/etc/haproxy/haproxy.cfg"
LINE = f"the standby serves: drillctl, run {RUN_ID}"

TAKEN: dict[str, dict[str, list[tuple[str, ...]]]] = {
    "nginx-flag": {
        "flag-look": [(FLAG, "1024")],
        "flag-stage": [(FLAG, CANDIDATE, PIDFILE)],
        "flag-raise": [(FLAG, CANDIDATE, LINE)],
        "flag-lower": [(FLAG, CANDIDATE, SHA), (FLAG, CANDIDATE, "absent")],
        "flag-put": [
            (FLAG, CANDIDATE, "", "", "", f"{SHA} absent"),
            (FLAG, CANDIDATE, SHA, "644", "0:0", SHA),
        ],
        "flag-discard": [(CANDIDATE,)],
    },
    "haproxy": {
        "haproxy-read": [(CONFIG,)],
        "haproxy-state-lines": [(CONFIG,)],
        "haproxy-states": [(SOCKET, "recognition")],
        "haproxy-statistics": [(SOCKET,)],
        "haproxy-state-file": [(STATES, str(1 << 20))],
        "haproxy-prepare": [(STATES,)],
        "haproxy-switch": [(SOCKET, "recognition", NOW, SWITCH, STATES)],
        "haproxy-put": [
            (SOCKET, "", STATES, "", "", ""),
            (SOCKET, SWITCH, STATES, "", "", ""),
            (SOCKET, SWITCH, STATES, SHA, "640", "0:0"),
        ],
    },
}
"""What a drill says to the programs of its own of each kind; those that take no words are left out."""

WRONG = ["/etc/shadow", "", "x", "4755", "666", "1000:1000", "../x", "$(id)", "-x", "*", "a\nb", SHA[:-1], f"{LINE}\n"]
"""In the place of any word; where one of these is what the program takes there, it is left out."""


def stripped(estate: Inventory, folder: Path) -> dict[str, Path]:
    """Return the programs of an estate's gateway, with what they look at and do taken out: only the words count."""
    found = {}
    for program in registry.programs(estate, estate.gateway.hosts[0]):
        (folder / program.name).write_text(replace(program, source="exit 0\n", functions="", checks="").text)
        found[program.name] = folder / program.name
    return found


def takes(program: Path, words: tuple[str, ...], shell: list[str]) -> bool:
    done = subprocess.run([*shell, str(program), *words], capture_output=True, check=False)
    assert done.returncode in {0, REFUSED}, done.stderr
    return done.returncode == 0


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, programs in TAKEN.items() for name in programs])
def test_each_word_must_be_the_estates(
    kinds: dict[str, Inventory], tmp_path: Path, shell: list[str], kind: str, name: str
) -> None:
    program = stripped(kinds[kind], tmp_path)[name]
    ways = TAKEN[kind][name]
    for words in ways:
        assert takes(program, words, shell), words
        assert not takes(program, (*words, ""), shell)
        assert not takes(program, words[:-1], shell)
        for number, word in enumerate(words):
            # A word that is as free as the sums that may be replaced, or the states before, is compared by the script.
            if name in {"flag-put", "haproxy-switch"} and word in {f"{SHA} absent", SHA, NOW, ""}:
                continue
            # Of commands only the beginning and the characters count here; the test of `zones_only` has the rest.
            blank = f" {word}" if word == SWITCH else f"{word} "
            for wrong in (*WRONG, blank, word[:-1] + "\n"):
                changed = (*words[:number], wrong, *words[number + 1 :])
                if changed not in ways and not (wrong == "" and name == "haproxy-put"):
                    assert not takes(program, changed, shell), changed


def test_every_program_of_a_kind_is_tried_above(kinds: dict[str, Inventory]) -> None:
    for kind, tried in TAKEN.items():
        found = registry.programs(kinds[kind], kinds[kind].gateway.hosts[0])
        own = {program.name for program in found if any(program.variants) and program.name != "guard"}
        assert {name for name in own if not name.startswith("gateway-")} == tried.keys()
    passive = registry.programs(kinds["nginx-passive"], kinds["nginx-passive"].gateway.hosts[0])
    looking = {"adopted", "log-position", "log-since", "read", "test"}
    assert {program.name for program in passive} == {*(f"gateway-{name}" for name in looking), "check", "guard"}


def original(estate: Inventory, choice: str) -> GatewayConfig:
    host = estate.gateway.hosts[0].name
    path = estate.gateway.config
    return GatewayConfig((HostConfig(host, path, path, b"", SHA, 0o644, "0:0", (), choice),), None, None)


def staged(estate: Inventory, sha256: str, content: bytes = b"") -> Staged:
    host = StagedHost(
        host=estate.gateway.hosts[0].name,
        live="",
        content=content,
        sha256=sha256,
        original_sha256=SHA,
        diff="",
        tested="",
    )
    return Staged("", (host,))


FLAG_SET = flags.in_words(Flag(f"{LINE}\n".encode()))
STATE_FILE = StateFile(b"1\n", "644", "0:0").in_words()
AT = "at 10.0.1.11:8080 10.0.2.11:8080 |"


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("kind", "choice", "sha256", "content"),
    [
        ("nginx-flag", flags.ABSENT, OTHER_SHA, b""),
        ("nginx-flag", FLAG_SET, "absent", b""),
        ("haproxy", f"{NOW} {AT} state file absent", "", b"a=maint b=ready"),
        ("haproxy", f"{NOW} {AT} {STATE_FILE}", "", b"a=maint b=ready"),
        ("nginx-passive", "", SHA, b""),
    ],
)
def test_the_undos_of_a_gateway_are_taken(
    kinds: dict[str, Inventory], tmp_path: Path, kind: str, choice: str, sha256: str, content: bytes, turned: bool
) -> None:
    installed = kinds[kind]
    estate = installed.turned() if turned else installed
    asked = Asked(installed, installed.gateway.hosts[0], tmp_path)
    guard = GuardClient(asked.transport)
    guard.acquire(RUN_ID, owner(), 20)
    places = {"nginx-flag": (CANDIDATE,)}.get(kind, ())
    name = installed.gateway.hosts[0].name
    guard.register(orders.discard({name: places})[name])
    for prepared in (None, staged(estate, sha256, content)):
        for order in orders.restore(estate, original(estate, choice), prepared).values():
            guard.register(order)
    assert asked.refused == []
    assert asked.taken.count("guard") == (2 if kind == "nginx-passive" else 4)


FLAG_UNDO = ("gateway.flag", FLAG, SHA, "644", "0:0", "absent")
STATES_UNDO = ("gateway.haproxy", SOCKET, SHA, "recognition", NOW, NOW, SWITCH, STATES, "644", "0:0")


@pytest.mark.parametrize(
    ("kind", "undo", "number", "wrong"),
    [
        ("nginx-flag", FLAG_UNDO, 1, "/etc/cron.d/x"),
        ("nginx-flag", FLAG_UNDO, 2, "-"),
        ("nginx-flag", FLAG_UNDO, 3, "4755"),
        ("nginx-flag", FLAG_UNDO, 3, "666"),
        ("nginx-flag", FLAG_UNDO, 4, "1000:1000"),
        ("nginx-flag", FLAG_UNDO, 5, "x"),
        ("nginx-flag", FLAG_UNDO, 0, "gateway.restore"),
        ("nginx-flag", FLAG_UNDO, 0, "command.run"),
        ("nginx-passive", FLAG_UNDO, 0, "gateway.flag"),
        ("haproxy", STATES_UNDO, 1, "/home/drill/a.sock"),
        ("haproxy", STATES_UNDO, 2, "-"),
        ("haproxy", STATES_UNDO, 3, "other"),
        ("haproxy", STATES_UNDO, 6, "shutdown sessions server recognition/a"),
        ("haproxy", STATES_UNDO, 6, "set server other/a state maint"),
        ("haproxy", STATES_UNDO, 6, f"{SWITCH}\nshow info"),
        ("haproxy", STATES_UNDO, 7, "/etc/cron.d/x"),
        ("haproxy", STATES_UNDO, 8, "4755"),
        ("haproxy", STATES_UNDO, 9, "1000:1000"),
    ],
)
def test_no_other_undo_is_taken(
    kinds: dict[str, Inventory], tmp_path: Path, kind: str, undo: tuple[str, ...], number: int, wrong: str
) -> None:
    estate = kinds[kind]
    guard = stripped(estate, tmp_path)["guard"]
    urls = orders.gateway_orders.health_urls(estate, estate.home("standby"))
    words = (estate.gateway.hosts[0].name, "register", "1", "gateway.restore", *undo, *urls)
    assert takes(guard, words, ["sh"]) == (kind != "nginx-passive")
    changed = (*words[: 4 + number], wrong, *words[5 + number :])
    assert not takes(guard, changed, ["sh"])
    elsewhere = (*words[: -len(urls)], *(url.replace("http://1", "http://2") for url in urls))
    assert not takes(guard, elsewhere, ["sh"])


SAID = """\
1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_fqdn srv_port srvrecord
3 recognition 1 a {primary} 2 0 - {port} -
3 recognition 2 b {standby} 2 1 - {port} -
3 recognition 3 c 10.9.9.9 2 0 - {port} -
3 recognition 4 d 10.9.9.9 2 0 {named} {port} -
4 other 1 a {primary} 2 0 - {port} -
4 other 2 e {primary} 2 0 - {port} -
"""


@pytest.mark.parametrize("awk", ["awk", "busybox awk", "gawk"])
@pytest.mark.parametrize(
    ("commands", "taken"),
    [
        (SWITCH, True),
        ("set server recognition/a state ready", True),
        ("set server recognition/a state drain; set server recognition/b state ready", True),
        ("set server recognition/d state ready", True),
        ("set server recognition/c state ready", False),
        ("set server recognition/e state ready", False),
        ("set server recognition/a state maint", False),
        ("set server recognition/a state ready; set server recognition/a state maint", False),
        ("set server recognition/a state ready; set server recognition/c state maint", False),
        ("set server recognition/a state ready;set server recognition/b state maint", False),
        ("set server recognition/a state ready ", False),
        ("set server recognition/a  state ready", False),
        ("set server recognition/a state ready; ", False),
        ("set server recognition/a state readyx", False),
        ("set server recognition/a addr 10.9.9.9", False),
        ("set server xrecognition/a state ready", False),
        ("set server recognition/A state ready", False),
        ("", False),
    ],
)
def test_commands_are_read_letter_by_letter_by_every_awk(
    kinds: dict[str, Inventory], tmp_path: Path, shell: list[str], awk: str, commands: str, taken: bool
) -> None:
    if shutil.which(awk.split()[0]) is None:
        pytest.skip(f"there is no {awk} here")
    estate = kinds["haproxy"]
    primary, standby = (zone.hosts[0] for zone in estate.zones)
    named = standby.model_copy(update={"upstream": "Server.example:8080"})
    zone = estate.zone("standby").model_copy(update={"hosts": (standby, named)})
    estate = estate.model_copy(update={"zones": (estate.zone("primary"), zone)})
    assert isinstance(estate.gateway, Haproxy)
    judge = haproxy.needs(estate, estate.gateway, estate.gateway.hosts[0]).functions
    said = SAID.format(primary=primary.address, standby=standby.address, port=8080, named="server.EXAMPLE")
    (tmp_path / "said").write_text(said)
    script = (
        f"set -u\ndeny() {{ exit {REFUSED}; }}\n{PRELUDE}{judge.replace('awk -v', f'{awk} -v')}\n"
        f'ask() {{ cat "{tmp_path}/said"; }}\nzones_only /run/a.sock recognition "$1"\n'
    )
    (tmp_path / "script").write_text(script)
    done = subprocess.run([*shell, str(tmp_path / "script"), commands], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0 if taken else REFUSED, b"", b"")


def test_what_is_pinned_is_of_the_inventory(kinds: dict[str, Inventory]) -> None:
    flagged, proxied = kinds["nginx-flag"].gateway, kinds["haproxy"].gateway
    assert isinstance(flagged, NginxFlag)
    assert isinstance(proxied, Haproxy)
    assert (flagged.flag_file, proxied.socket, proxied.state_file) == (FLAG, SOCKET, STATES)
