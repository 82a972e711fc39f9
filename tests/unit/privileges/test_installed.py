"""A transport runs the installed program of a script's text, and believes no host that has others."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from drillctl import inventory as inventories
from drillctl.errors import HostError
from drillctl.gateway import nginx_scripts
from drillctl.guard.client import GuardClient
from drillctl.hosts import systemd
from drillctl.hosts.scripted import Answer, Ran, ScriptedTransport
from drillctl.hosts.service import manager_of
from drillctl.privileges import installer
from drillctl.privileges.installed import Installed
from drillctl.privileges.registry import programs

if TYPE_CHECKING:
    from pathlib import Path

    from drillctl.inventory import Host, Inventory

FOLDER = "/usr/local/libexec/drillctl"


def zone_host(estate: Inventory) -> Host:
    return estate.zone("primary").hosts[0]


def transport(estate: Inventory, host: Host, answer: Answer | None = None) -> ScriptedTransport:
    made = ScriptedTransport(host.name, lambda _: answer or Answer())
    made.installed = Installed(estate, host)
    return made


def told(estate: Inventory, host: Host, **spoilt: str) -> Answer:
    """Return what a host says of its programs, with the text of some replaced."""
    lines = []
    for path, (text, _) in installer.files(estate, host).items():
        name = path.rpartition("/")[2]
        key = "sudoers" if path == installer.SUDOERS else name.replace("-", "_").replace(".", "_")
        digest = hashlib.sha256(spoilt.get(key, text).encode()).hexdigest()
        lines.append(f"sudoers {digest}" if key == "sudoers" else f"file {name} {digest}")
    return Answer("\n".join(lines).encode() + b"\n")


def test_a_script_becomes_its_program_with_the_same_arguments(example: Inventory) -> None:
    host = transport(example, zone_host(example), Answer(b"killed=1 remaining= open=0\n"))
    manager_of(example, zone_host(example), host).kill()
    words = ("sudo", "-n", "--", f"{FOLDER}/service-kill", "inference.service", "8080", systemd.HOLD)
    assert host.ran == [Ran(words, b"", privileged=False)]


def test_a_command_becomes_its_program_without_arguments(example: Inventory) -> None:
    host = transport(example, zone_host(example))
    service = manager_of(example, zone_host(example), host)
    service.start()
    service.stop()
    service.last_words()
    names = [ran.argv[3:] for ran in host.ran]
    assert names == [(f"{FOLDER}/service-{name}",) for name in ("start", "stop", "log")]


def test_what_needs_no_root_is_run_as_ever(example: Inventory) -> None:
    host = transport(example, zone_host(example))
    host.script("looking", "echo $1", "x")
    host.run(["true"])
    assert [ran.argv for ran in host.ran] == [("sh", "-c", "echo $1", "drillctl", "x"), ("true",)]


def test_what_is_not_installed_is_not_run(example: Inventory) -> None:
    host = transport(example, zone_host(example))
    with pytest.raises(HostError, match="dropping packets needs root, and no program for it"):
        host.script("dropping packets", "nft add table x", privileged=True)
    with pytest.raises(HostError, match="`reboot` needs root"):
        host.run(["reboot"], privileged=True)
    assert host.ran == []


def test_a_process_is_the_users_own(tmp_path: Path, process_text: str) -> None:
    file = tmp_path / "inventory.yaml"
    file.write_text(process_text + "  privileges: installed\n")
    estate = inventories.load(file)
    host = transport(estate, zone_host(estate))
    manager_of(estate, zone_host(estate), host).stop()
    assert host.ran[0].argv[:2] == ("sh", "-c")
    host.installed.verify(host)  # type: ignore[union-attr]
    assert len(host.ran) == 1


def test_a_guard_is_asked_by_its_entry(example: Inventory) -> None:
    host = transport(example, zone_host(example), Answer(b"state free\n"))
    assert GuardClient(host).show().state == "free"
    assert host.ran[0].argv == ("sudo", "-n", "--", f"{FOLDER}/guard", "rec-h-1", "show")


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ({"service_kill": "#!/bin/sh\n"}, "altered: service-kill"),
        ({"guard_sh": ""}, "altered: guard.sh"),
        ({"sudoers": "drill ALL = (ALL) NOPASSWD: ALL\n"}, "/etc/sudoers.d/drillctl is not what drillctl needs"),
    ],
)
def test_a_host_with_other_programs_is_refused(example: Inventory, spoilt: dict[str, str], said: str) -> None:
    chosen = zone_host(example)
    right = transport(example, chosen, told(example, chosen))
    Installed(example, chosen).verify(right)
    wrong = transport(example, chosen, told(example, chosen, **spoilt))
    with pytest.raises(HostError, match=said) as refused:
        Installed(example, chosen).verify(wrong)
    assert refused.value.exit_code == 4
    assert refused.value.state == "nothing was changed"
    assert "drillctl privileges install-script rec-h-1 | ssh" in str(refused.value.hint)


def test_an_inventory_that_says_otherwise_needs_other_programs(example: Inventory) -> None:
    moved = example.model_copy(update={"service": example.service.model_copy(update={"port": 9090})})
    chosen = zone_host(example)
    with pytest.raises(HostError, match="altered: service-kill"):
        Installed(moved, chosen).verify(transport(example, chosen, told(example, chosen)))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(b"", 1), "holds no programs"),
        (Answer(b"sudo: a password is required\ncheck 1\n", 1), "holds no programs"),
    ],
)
def test_a_host_with_nothing_installed_is_refused(example: Inventory, answer: Answer, said: str) -> None:
    chosen = zone_host(example)
    with pytest.raises(HostError, match=said):
        Installed(example, chosen).verify(transport(example, chosen, answer))


def test_what_sudo_says_is_told(example: Inventory) -> None:
    chosen = zone_host(example)
    lines = [line for line in told(example, chosen).stdout.splitlines(keepends=True) if line.startswith(b"file")]
    answer = Answer(b"".join(lines) + b"sudo: a password is required\ncheck 1\n")
    with pytest.raises(HostError, match=r"sudo does not run .*/check: sudo: a password is required"):
        Installed(example, chosen).verify(transport(example, chosen, answer))


def test_every_program_of_the_gateway_is_a_constant_of_its_own(example: Inventory) -> None:
    """Two programs of one text could not be told apart by it."""
    for host in example.hosts:
        found = programs(example, host)
        sources = [program.source for program in found if program.command is None]
        assert len(set(sources)) == len(sources)
        assert len({program.name for program in found}) == len(found)
    # What a tree of copied files needs is not for a user who is not root: it would be a config of the user's own.
    assert nginx_scripts.RESOLVE not in sources
