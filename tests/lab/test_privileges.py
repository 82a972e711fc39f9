"""What the drill's user may do as root on real hosts: what a drill needs, and nothing else of what is tried here."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from estate import CONFIG, ON_MACHINES, Estate

from drillctl import inventory as inventories
from drillctl.privileges import installer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drillctl.lab import Lab

pytestmark = ON_MACHINES

FOLDER = "/usr/local/libexec/drillctl"
HOLD = "90-drillctl-hold.conf"
RUN = "20260101T000000Z-run-1"
STAGING = f"/etc/nginx/conf.d/.drillctl-{RUN}"
ADOPTED = "/etc/nginx/conf.d/.drillctl-adopted-recognition.conf"
CANDIDATE = f"{STAGING}/zone-b.candidate"
PIDFILE, ERRORS, LOG = "/run/nginx.pid", "/var/log/nginx/error.log", "/var/log/nginx/recognition.access.log"
RELOAD = "nginx -s reload"
HEALTH = "http://198.18.77.11:8080/health"
SHA = "0" * 64
DROP_IN = f"/run/systemd/system/inference.service.d/{HOLD}"
TEST = f"""unshare -m sh -c 'mount -o bind "$1" "$2" && shift 2 && exec "$@"' sh {CANDIDATE} {CONFIG} nginx -t"""
ACTIVATE = (CONFIG, CANDIDATE, STAGING, "", SHA, SHA, PIDFILE, ERRORS, TEST, RELOAD)
PUT = (CONFIG, STAGING, "644", "0:0", SHA, SHA, PIDFILE, ERRORS, RELOAD)
RESTORE = (CONFIG, SHA, "644", "0:0", SHA, RELOAD, HEALTH)
SLOW = ("0.01", "0.09", "1800")
ZONE, GATEWAY = "zone-a-1", "gateway"


def by_sudo(*words: str) -> list[str]:
    return ["sudo", "-n", "--", *words]


def program(name: str, *arguments: str) -> list[str]:
    return by_sudo(f"{FOLDER}/{name}", *arguments)


def changed(words: tuple[str, ...], number: int, to: str) -> tuple[str, ...]:
    """Return words with one of them (counted from 1) replaced."""
    return (*words[: number - 1], to, *words[number:])


def registered(host: str, *undo: str) -> list[str]:
    return program("guard", host, "register", "1", "undo", *undo)


ATTEMPTS: dict[str, tuple[str, list[str]]] = {
    # By sudo itself.
    "a shell": (ZONE, by_sudo("sh", "-c", "id")),
    "a login shell": (ZONE, ["sudo", "-n", "-i"]),
    "another command": (ZONE, by_sudo("id")),
    "the command that a program stands for": (ZONE, by_sudo("systemctl", "stop", "--", "inference.service")),
    "as another user": (ZONE, ["sudo", "-n", "-u", "nobody", "--", f"{FOLDER}/check"]),
    "an editor": (ZONE, ["sudoedit", "-n", "/etc/shadow"]),
    "a command beside the programs": (ZONE, by_sudo(f"{FOLDER}/../../../../bin/id")),
    "the guard's own program": (ZONE, program("guard.sh", "/var/lib/drillctl/zone-a-1", "show")),
    "a link of that name": (ZONE, ["sh", "-c", "ln -sf /bin/sh ~/check; sudo -n -- ~/check -c id"]),
    "a copy of a program": (ZONE, ["sh", "-c", f"cp {FOLDER}/check ~/check2; sudo -n -- ~/check2"]),
    "a variable": (ZONE, ["sudo", "-n", "LD_PRELOAD=/tmp/x.so", f"{FOLDER}/check"]),
    "the whole environment": (ZONE, ["sudo", "-n", "-E", "--", f"{FOLDER}/check"]),
    "a root folder of its own": (ZONE, ["sudo", "-n", "-R", "/tmp", "--", f"{FOLDER}/check"]),
    # By the programs of a zone's host.
    "another unit": (ZONE, program("service-kill", "ssh.service", "8080", HOLD)),
    "another port": (ZONE, program("service-kill", "inference.service", "22", HOLD)),
    "a drop-in elsewhere": (ZONE, program("service-kill", "inference.service", "8080", "../../../../etc/x")),
    "two words in one": (ZONE, program("service-kill", "inference.service 8080", HOLD)),
    "one word in two": (ZONE, program("service-revive", "inference.service", *HOLD.split("-", 1))),
    "one word too many": (ZONE, program("service-kill", "inference.service", "8080", HOLD, "ssh.service")),
    "no words": (ZONE, program("service-kill")),
    "words for a program that takes none": (ZONE, program("service-stop", "ssh.service")),
    "an option": (ZONE, program("service-state", "--all", HOLD)),
    "a line more": (ZONE, program("service-revive", "inference.service\nssh.service", HOLD)),
    "a line end behind": (ZONE, program("service-revive", "inference.service\n", HOLD)),
    "a pattern": (ZONE, program("service-revive", "*", HOLD)),
    "a command in a word": (ZONE, program("service-revive", "$(id >/tmp/was-here)", HOLD)),
    # By the guard.
    "another host's guard": (ZONE, program("guard", "../../etc", "show")),
    "a guard's folder": (ZONE, program("guard", "/var/lib/drillctl/zone-a-1", "show")),
    "the guard's clock": (ZONE, program("guard", ZONE, "tick")),
    "a lease for ever": (ZONE, program("guard", ZONE, "acquire", RUN, "me", "9" * 17)),
    "a run with a line more": (ZONE, program("guard", ZONE, "acquire", f"{RUN}\nttl 9", "me", "20")),
    "an owner with a line more": (ZONE, program("guard", ZONE, "acquire", RUN, "me\nttl 9", "20")),
    "an undo with a path for an id": (
        ZONE,
        program("guard", ZONE, "register", "1", "../x", "service.revive", "systemd", "inference.service", DROP_IN),
    ),
    "an undo for another unit": (ZONE, registered(ZONE, "service.revive", "systemd", "ssh.service", DROP_IN)),
    "an undo that removes another file": (
        ZONE,
        registered(ZONE, "service.revive", "systemd", "inference.service", "/etc/passwd"),
    ),
    "an undo that starts a process": (ZONE, registered(ZONE, "service.revive", "process")),
    "an undo that runs a command": (ZONE, registered(ZONE, "command.run", "id")),
    "a gateway's undo on a zone's host": (ZONE, registered(ZONE, "gateway.restore", *RESTORE)),
    "an undo that removes a folder": (GATEWAY, registered(GATEWAY, "gateway.discard", "/etc")),
    "an undo that climbs": (GATEWAY, registered(GATEWAY, "gateway.discard", f"{STAGING}/../../../shadow")),
    "an undo that writes another file": (
        GATEWAY,
        registered(GATEWAY, "gateway.restore", *changed(RESTORE, 1, "/etc/cron.d/x")),
    ),
    "an undo that opens the file": (GATEWAY, registered(GATEWAY, "gateway.restore", *changed(RESTORE, 3, "666"))),
    "an undo with another reload": (GATEWAY, registered(GATEWAY, "gateway.restore", *changed(RESTORE, 6, "id"))),
    "an undo that asks elsewhere": (
        GATEWAY,
        registered(GATEWAY, "gateway.restore", *changed(RESTORE, 7, "http://198.18.77.1/health")),
    ),
    "an undo with other bytes": (GATEWAY, registered(GATEWAY, "gateway.restore", *RESTORE)),
    # By the programs of faults.
    "another unit to hang": (ZONE, program("fault-hang", "systemd", "ssh.service", "8080")),
    "a process to hang": (ZONE, program("fault-hang", "process", "/home/drill/pid", "8080")),
    "another file to make": (
        ZONE,
        program("fault-slow", "systemd", "inference.service", f"/etc/.drillctl-slow-{RUN}-zone-a-1", *SLOW),
    ),
    "a file to make that climbs": (
        ZONE,
        program("fault-slow", "systemd", "inference.service", "/tmp/.drillctl-slow-/../x-zone-a-1", *SLOW),
    ),
    "a drop-in of one's own": (
        ZONE,
        program("fault-restart", "inference.service", DROP_IN, "[Service]\nExecStartPre=+/bin/sh -c id\n"),
    ),
    "another model": (
        ZONE,
        program("fault-model", "/etc/shadow", "/etc/.drillctl-kept-shadow", "altered", "inference.service", DROP_IN),
    ),
    "another disk": (ZONE, program("fault-disk-full", "/.drillctl-filler")),
    "another port to cut": (ZONE, program("fault-packets", "drillctl_x", "22", "drop", "clients", "0", "198.18.77.10")),
    "a cut that lasts": (ZONE, program("fault-packets", "drillctl_x", "22", "drop", "drillctl", "0", "198.18.77.1")),
    "a rule of one's own": (
        ZONE,
        program("fault-packets", "drillctl_x", "8080", "loss-5 accept; flush ruleset", "gateway", "0", "198.18.77.10"),
    ),
    "another table": (ZONE, program("fault-packets-list", "filter; flush ruleset")),
    "an undo that moves another file": (
        ZONE,
        registered(ZONE, "file.put-back", "/etc/shadow", "/srv/model/.drillctl-kept-model.safetensors"),
    ),
    "an undo that removes another table": (ZONE, registered(ZONE, "filter.remove", "filter")),
    "an undo that removes any file": (ZONE, registered(ZONE, "file.discard", "/etc/.drillctl-x")),
    # By the programs of the gateway.
    "another file to read": (GATEWAY, program("gateway-read", "/etc/shadow")),
    "a link in a folder of one's own to read": (
        GATEWAY,
        ["sh", "-c", f"ln -sf /etc/shadow ~/recognition.conf; sudo -n -- {FOLDER}/gateway-read ~/recognition.conf"],
    ),
    "another log to read": (GATEWAY, program("gateway-log-since", "/etc/shadow", "0", "0", str(32 << 20))),
    "a number that is none": (GATEWAY, program("gateway-log-since", LOG, "0", "$((1))", str(32 << 20))),
    "another folder to empty": (GATEWAY, program("gateway-prepare", CONFIG, "/etc", PIDFILE)),
    "a folder to empty that climbs": (GATEWAY, program("gateway-prepare", CONFIG, f"{STAGING}/../..", PIDFILE)),
    "another folder to remove": (GATEWAY, program("gateway-discard", "/etc/nginx", "")),
    "another file to remove": (GATEWAY, program("gateway-discard", STAGING, "/etc/.drillctl-x/../passwd")),
    "the original of an adopted config to remove": (GATEWAY, program("gateway-discard", ADOPTED, "")),
    "the sums of an adopted config to remove": (GATEWAY, program("gateway-discard", f"{ADOPTED}.sums", "")),
    "the original of an adopted config to empty": (GATEWAY, program("gateway-prepare", CONFIG, ADOPTED, PIDFILE)),
    "an undo that removes the original of an adopted config": (
        GATEWAY,
        registered(GATEWAY, "gateway.discard", ADOPTED),
    ),
    "another file to write": (GATEWAY, program("gateway-write", "/etc/nginx/conf.d/x.conf", CONFIG)),
    "a file to write that climbs": (
        GATEWAY,
        program("gateway-write", "/etc/nginx/conf.d/.drillctl-x/../zone-b.candidate", CONFIG),
    ),
    "another file's rights": (GATEWAY, program("gateway-write", CANDIDATE, "/usr/bin/passwd")),
    "other bytes to stage": (GATEWAY, program("gateway-write", CANDIDATE, CONFIG)),
    "another test": (GATEWAY, program("gateway-try", CANDIDATE, CONFIG, "sh", "-c", "id", "-T")),
    "another config to test": (GATEWAY, program("gateway-try", "/home/drill/x", CONFIG, "nginx", "-t", "-T")),
    "an option for nginx": (GATEWAY, program("gateway-test", "-c", "/home/drill/nginx.conf")),
    "a switch with another test": (GATEWAY, program("gateway-activate", *changed(ACTIVATE, 9, "true"))),
    "a switch with another reload": (GATEWAY, program("gateway-activate", *changed(ACTIVATE, 10, "id"))),
    "a switch of another file": (GATEWAY, program("gateway-activate", *changed(ACTIVATE, 1, "/etc/nginx/nginx.conf"))),
    "a switch to the candidate of another run": (
        GATEWAY,
        program("gateway-activate", *changed(ACTIVATE, 2, CANDIDATE.replace(RUN, "2"))),
    ),
    "a switch that removes another run's folder": (
        GATEWAY,
        program("gateway-activate", *changed(ACTIVATE, 3, STAGING.replace(RUN, "2"))),
    ),
    "a switch with the test of another run": (
        GATEWAY,
        program("gateway-activate", *changed(ACTIVATE, 9, TEST.replace(RUN, "2"))),
    ),
    "a switch to what is not staged": (GATEWAY, program("gateway-activate", *ACTIVATE)),
    "a way back with other bytes": (GATEWAY, program("gateway-put", *PUT)),
    "a way back that opens the file to all": (GATEWAY, program("gateway-put", *changed(PUT, 3, "666"))),
    "a way back that gives the file away": (GATEWAY, program("gateway-put", *changed(PUT, 4, "2950:2950"))),
    "another reload": (GATEWAY, program("gateway-reload", PIDFILE, ERRORS, "id")),
    "another pid file": (GATEWAY, program("gateway-reload", "/home/drill/pid", ERRORS, RELOAD)),
}  # fmt: skip

EVIL = b"log_format x '* * * * * root id'; access_log /etc/cron.d/x x;\n"
"""What stdin brings: with it as a part of its config, nginx would write any file as root."""


@pytest.fixture
def estate(lab: Lab, tmp_path: Path) -> Iterator[Estate]:
    """An estate in its steady state, with what the lab's inventory needs installed at the end."""
    made = Estate(lab, tmp_path)
    made.start_servers()
    yield made
    made.install(made.inventory)


@pytest.fixture(scope="module")
def untouched(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """The lab as attempts must leave it."""
    made = Estate(lab, tmp_path_factory.mktemp("attempts"))
    made.install(made.inventory)
    made.start_servers()
    for host in (ZONE, GATEWAY):  # sudo makes a folder of its own in /run when it is first used
        assert as_drill(made, host, program("check")).returncode == 0
    before = snapshot(made)
    yield made
    assert snapshot(made) ^ before == set()


def snapshot(estate: Estate) -> set[str]:
    """Return, in lines, what an attempt could have changed on the hosts where it was made."""
    look = (
        "find /etc /usr/local/libexec /var/lib/drillctl /run/systemd/system -type f ! -name epoch -exec sha256sum {} +"
        " | sort -k 2;"
        " find /etc/nginx | xargs stat -c '%a %u %n';"
        # Without the manager that systemd keeps for a while for a user who was logged in.
        " systemctl list-units --type=service --state=running --plain --no-legend | grep -v '^user@';"
        " ls /tmp /run | grep -v ^systemd-private"  # of the service, which a drill restarts
    )
    return {f"{host} {line}" for host in (ZONE, GATEWAY) for line in estate.on(host, look).splitlines()}


def as_drill(estate: Estate, host: str, words: list[str], stdin: bytes = EVIL) -> subprocess.CompletedProcess[bytes]:
    """Run a command on a host as whoever drillctl logs in as, by the system's own ssh."""
    return subprocess.run(
        estate.lab.ssh_command(host, words), input=stdin, capture_output=True, timeout=30, check=False
    )


@pytest.mark.parametrize("what", ATTEMPTS)
def test_the_drills_user_may_not_have_done(untouched: Estate, what: str) -> None:
    host, words = ATTEMPTS[what]
    done = as_drill(untouched, host, words)
    said = done.stderr.decode()
    by_program = done.returncode == 126 and "refused, nothing was done: " in said
    by_itself = done.returncode == 1 and "sudo" in said
    assert by_program or by_itself, (done.returncode, done.stdout, said)
    assert done.stdout == b""


def test_what_a_drill_does_is_allowed_so_the_refusals_above_mean_something(untouched: Estate) -> None:
    live = as_drill(untouched, GATEWAY, ["cat", CONFIG]).stdout
    primary, standby = b"    server 198.18.77.11:8080;", b"    # server 198.18.77.12:8080;"
    assert primary in live
    assert standby in live
    other = live.replace(primary, b"    # server 198.18.77.11:8080;").replace(standby, b"    server 198.18.77.12:8080;")
    off = live.replace(primary, b"    # server 198.18.77.11:8080;")
    for words, stdin in (
        (program("gateway-prepare", CONFIG, STAGING, PIDFILE), b""),
        (program("gateway-write", CANDIDATE, CONFIG), other),
        (program("gateway-try", CANDIDATE, CONFIG, "nginx", "-t", "-T"), b""),
    ):
        done = as_drill(untouched, GATEWAY, words, stdin)
        assert done.returncode == 0, done.stderr
    assert other in done.stdout, "nginx has not read the candidate in the live file's place"
    assert as_drill(untouched, GATEWAY, ["cat", CONFIG]).stdout == live
    for evil in (
        other + EVIL,
        other.replace(b"8080;", b"8080; # \0\n"),
        other.replace(b"client_max", b"# client_max"),
        off,
    ):
        assert as_drill(untouched, GATEWAY, program("gateway-write", CANDIDATE, CONFIG), evil).returncode == 126
    assert as_drill(untouched, GATEWAY, program("gateway-discard", STAGING, "")).returncode == 0
    told = as_drill(untouched, ZONE, program("service-state", "inference.service", HOLD)).stdout
    assert b"LoadState=loaded" in told


def test_a_program_of_ones_own_in_path_is_not_run(untouched: Estate) -> None:
    own = "mkdir -p ~/bin; printf '#!/bin/sh\\nid\\n' >~/bin/systemctl; chmod +x ~/bin/systemctl; PATH=~/bin:$PATH "
    done = as_drill(untouched, ZONE, ["sh", "-c", f"{own} sudo -n {FOLDER}/service-state inference.service {HOLD}"])
    assert b"LoadState=loaded" in done.stdout
    assert b"uid=" not in done.stdout


def test_nobody_logs_in_as_root_even_with_a_key(estate: Estate) -> None:
    keys = "/etc/ssh/authorized_keys"
    estate.on(ZONE, f"cp {keys}/drill {keys}/root")
    try:
        argv = estate.lab.ssh_command(ZONE, ["id"])
        refused = subprocess.run([argv[0], "-l", "root", *argv[1:]], capture_output=True, text=True, check=False)
        assert refused.returncode == 255
        assert "Permission denied" in refused.stderr
        allowed = subprocess.run([argv[0], "-l", "drill", *argv[1:]], capture_output=True, text=True, check=False)
        assert allowed.stdout.startswith("uid=2950(drill) gid=2950(drill) groups=2950(drill)")
    finally:
        estate.on(ZONE, f"rm {keys}/root")


def test_a_drill_does_all_that_needs_root_by_the_installed_programs(estate: Estate) -> None:
    since = estate.on(ZONE, "date +%s")
    done = estate.drill()
    assert done.code == 0, done.err
    assert done.report["restore"]["config_identical"] is True
    ran = {host: estate.on(host, f"journalctl -o cat -t sudo --since=@{since}") for host in (ZONE, GATEWAY)}
    assert f"COMMAND={FOLDER}/service-kill inference.service 8080 {HOLD}" in ran[ZONE]
    assert f"COMMAND={FOLDER}/gateway-activate {CONFIG}" in ran[GATEWAY]
    for lines in ran.values():
        commands = [line.partition("COMMAND=")[2] for line in lines.splitlines() if "COMMAND=" in line]
        assert len(commands) > 5
        assert all(command.startswith(f"{FOLDER}/") for command in commands)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (f"echo >>{FOLDER}/gateway-wait", "not this version's, or altered: gateway-wait"),
        (f"echo >>{FOLDER}/guard.sh", "not this version's, or altered: guard.sh"),
        (f"rm {FOLDER}/gateway-put", "missing: gateway-put"),
        (f"rm -r {FOLDER}", "holds no programs"),
        (f"chmod 777 {FOLDER}/gateway-read", "not only root may write these"),
        (f"chown drill {FOLDER}/gateway-read", "not only root may write these"),
        ("rm /etc/sudoers.d/drillctl", "sudo does not run"),
        ("echo 'drill ALL = (root) NOPASSWD: /bin/sh' >>/etc/sudoers.d/drillctl", "is not what drillctl needs"),
    ],
)
def test_what_was_altered_on_a_host_is_refused_at_connect(estate: Estate, spoil: str, said: str) -> None:
    estate.on(GATEWAY, spoil)
    done = estate.drill()
    assert done.code == 4, done.err
    assert said in done.report["reason"]
    assert done.report["hint"] == (
        "as an administrator: drillctl privileges install-script gateway | ssh ADMINISTRATOR@198.18.77.10 sudo sh"
    )
    assert not any(step["name"] in {"start", "arm", "fault"} for step in done.report["steps"])
    checked = estate.run("privileges", "check", "--inventory", str(estate.inventory))
    assert checked.code == 4
    assert said in checked.out
    # What the hint says puts it right.
    estate.install(estate.inventory)
    assert estate.run("privileges", "check", "--inventory", str(estate.inventory)).code == 0


def test_the_script_may_be_repeated_and_takes_everything_away_again(estate: Estate) -> None:
    loaded = inventories.load(estate.inventory)
    host = loaded.hosts[0]

    def run(script: str) -> subprocess.CompletedProcess[str]:
        argv = estate.lab.root_command(host.name, ["sh"])
        return subprocess.run(argv, input=script, capture_output=True, text=True, check=False)

    # Not the folder above: the script makes its new version beside the old one, and compares before it moves it.
    paths = f"find {FOLDER} /etc/sudoers.d /var/lib/drillctl"
    before = estate.on(host.name, f"{paths} -exec stat -c '%n %a %u:%g %Y' {{}} +")
    again = run(installer.install_script(loaded, host))
    assert (again.returncode, again.stdout) == (0, "drillctl: all of it was in place already\n"), again.stderr
    assert estate.on(host.name, f"{paths} -exec stat -c '%n %a %u:%g %Y' {{}} +") == before
    removed = run(installer.remove_script(loaded, host))
    assert removed.returncode == 0, removed.stderr
    assert "drillctl" not in estate.on(host.name, "find /usr/local /etc/sudoers.d /var/lib | cat")
    made = run(installer.install_script(loaded, host))
    assert made.returncode == 0, made.stderr
    assert estate.run("privileges", "check", "--inventory", str(estate.inventory)).code == 0


def test_the_script_refuses_files_whose_folder_the_user_may_write(estate: Estate) -> None:
    def move(document: dict[str, Any]) -> None:
        document["gateway"]["access_log"] = "/home/drill/log/access.log"

    estate.on(GATEWAY, "mkdir -p /home/drill/log")
    with pytest.raises(AssertionError) as refused:
        estate.changed_inventory(move)
    assert "drill may write what root is to trust: /home/drill" in str(refused.value)
    assert "nothing was changed" in str(refused.value)
    assert estate.run("privileges", "check", "--inventory", str(estate.inventory)).code == 0
