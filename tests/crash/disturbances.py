"""What can happen in the middle of a drill besides the death of drillctl: to its network, the hosts, their programs.

Each drills, disturbs at a step, ends the disturbance where it does not end by itself (a network that stays cut, a disk
that stays full), and sees that drillctl did not claim success where there was none. The rest is the matrix's business.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from drillctl.lab import ground
from drillctl.lab.hostfiles import BELOW, CONFIG

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from tests.crash.machine import Machine
    from tests.crash.scene import Scene

FOLDER = str(Path(CONFIG).parent)
DATE = "/usr/bin/date"
NGINX = "/usr/sbin/nginx"

PASSED, FAILED, INCONCLUSIVE, NOT_STARTED, ABORTED, INCOMPLETE = 0, 1, 3, 4, 5, 6


@dataclass(frozen=True)
class Came:
    """What happened, when it began, and how many seconds longer than usual service may be away because of it."""

    at: float
    words: str
    allowed: float = 0.0


ALL: dict[str, Callable[[Scene, Path], Came]] = {}
"""Every disturbance by its name, in order."""


def named(name: str) -> Callable[[Callable[[Scene, Path], Came]], Callable[[Scene, Path], Came]]:
    """Register a disturbance."""

    def register(carry_out: Callable[[Scene, Path], Came]) -> Callable[[Scene, Path], Came]:
        ALL[name] = carry_out
        return carry_out

    return register


def ended(scene: Scene, process: subprocess.Popen[bytes], home: Path, *allowed: int) -> str:
    """Wait for the drill; return its exit code in words. Raises when it is none of those that are right here."""
    done = scene.finish(process, home)
    if done.code not in allowed:
        wanted = " or ".join(map(str, allowed))
        raise RuntimeError(f"drillctl ended with {done.code}, not with {wanted}: {done.err[-800:]}")
    return f"drillctl: {done.code}"


def kill(process: subprocess.Popen[bytes]) -> float:
    """Kill drillctl; return when."""
    process.kill()
    process.wait()
    return time.monotonic()


# --- drillctl and its network ---------------------------------------------------------------------------------------


@named("SIGSTOP after the fault, SIGCONT when the lease is over")
def stopped(scene: Scene, home: Path) -> Came:
    process = scene.start_drill(home)
    at = scene.wait_for_step(process, home, "fault")
    process.send_signal(signal.SIGSTOP)
    try:
        scene.wait(scene.free, 60, "the guards have put everything back")
    finally:
        process.send_signal(signal.SIGCONT)
    return Came(at, ended(scene, process, home, INCONCLUSIVE, ABORTED))


def _recover_killed(words: str, *, journal: bool) -> None:
    @named(f"drillctl killed after `switch`, then `recover` {words} killed again and again")
    def carry_out(scene: Scene, home: Path) -> Came:
        process = scene.start_drill(home)
        scene.wait_for_step(process, home, "switch")
        at = kill(process)
        where = home if journal else scene.new_home()
        for number in range(2, 200, 4):
            environment = {"CRASH_AT": f"number {number}"}
            words = ("recover", "--inventory", str(scene.inventory))
            again = scene.start(where, *words, program="tests.crash.effects", environment=environment)
            done = scene.finish(again, where)
            if done.code == 0:
                return Came(at, f"recover killed {number // 4} times")
            if done.code != -signal.SIGKILL:
                raise RuntimeError(f"`recover` ended with {done.code}: {done.out[-300:]} {done.err[-800:]}")
        raise RuntimeError("`recover` came to no end")


_recover_killed("with the journal", journal=True)
_recover_killed("elsewhere", journal=False)


@contextlib.contextmanager
def cut(machine: Machine) -> Iterator[None]:
    """Drop every packet between drillctl and a machine's sshd; clients go on."""
    nft = ground.required("nft")
    rules = (
        "add table inet crash; add chain inet crash in { type filter hook input priority -10; };"
        " add chain inet crash out { type filter hook output priority -10; };"
        f" add rule inet crash in ip saddr {BELOW} tcp dport 22 drop;"
        f" add rule inet crash out ip daddr {BELOW} tcp sport 22 drop"
    )
    machine.run(nft, rules, inside="-n")
    try:
        yield
    finally:
        machine.run(nft, "delete table inet crash", inside="-n")


def _cut(host: str, step: str) -> None:
    @named(f"network between drillctl and {host} cut after `{step}`")
    def carry_out(scene: Scene, home: Path) -> Came:
        process = scene.start_drill(home)
        scene.wait_for_step(process, home, step)
        at = time.monotonic()
        with cut(scene.machines[host]):
            words = ended(scene, process, home, INCONCLUSIVE, ABORTED, INCOMPLETE)
            if not scene.client.wait_good(1.0, at, 60):
                raise RuntimeError("there is no service while the network is cut")
        # The end of a connection is told again and again, at longer and longer intervals (tcp(7), tcp_orphan_retries).
        scene.wait(lambda: not _sessions(scene.machines[host]), 60, "the sessions of the cut connection are gone")
        return Came(at, words)


for _host in ("gateway", "zone-a-1", "zone-b-1"):
    for _step in ("traffic", "fault", "switch"):
        _cut(_host, _step)


def _sessions(machine: Machine) -> list[int]:
    """Return the pids of what sshd runs for those who are logged in."""
    return [pid for pid, _, words in machine.processes() if words.startswith("sshd: ") and "[listener]" not in words]


def _sshd(host: str) -> None:
    @named(f"sshd of {host} restarted after `fault`")
    def restarted(scene: Scene, home: Path) -> Came:
        process = scene.start_drill(home)
        at = scene.wait_for_step(process, home, "fault")
        scene.machines[host].shell("systemctl restart ssh")
        return Came(at, ended(scene, process, home, PASSED))

    @named(f"sshd of {host} killed with its sessions after `switch`")
    def killed(scene: Scene, home: Path) -> Came:
        process = scene.start_drill(home)
        at = scene.wait_for_step(process, home, "switch")
        for pid in _sessions(scene.machines[host]):
            os.kill(pid, signal.SIGKILL)
        # It logs in again and puts everything back by itself, also where a command was cut short.
        return Came(at, ended(scene, process, home, INCONCLUSIVE, ABORTED))


for _host in ("gateway", "zone-a-1"):
    _sshd(_host)


# --- the guards ---------------------------------------------------------------------------------------------------


def _kill_watches(scene: Scene) -> None:
    for machine in scene.machines.values():
        watches = machine.find("guard.sh /var/lib/drillctl/")
        if not watches:
            raise RuntimeError(f"{machine.name} has no guard to kill")
        for pid in watches:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@named("every guard's process killed after `fault`")
def watches(scene: Scene, home: Path) -> Came:
    process = scene.start_drill(home)
    at = scene.wait_for_step(process, home, "fault")
    _kill_watches(scene)
    return Came(at, ended(scene, process, home, PASSED))


@named("drillctl and every guard's process killed after `fault`")
def watches_and_drillctl(scene: Scene, home: Path) -> Came:
    process = scene.start_drill(home)
    scene.wait_for_step(process, home, "fault")
    at = kill(process)
    _kill_watches(scene)
    return Came(at, "killed")


# --- hosts --------------------------------------------------------------------------------------------------------


def _reboot(machine: Machine) -> float:
    """Reboot a machine; return when that began, once it is up again."""
    before = machine.leader
    at = time.monotonic()
    machine.shell("systemctl --no-block reboot")
    deadline = at + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(LookupError, RuntimeError, OSError):
            if (
                machine.leader != before
                and machine.run("systemctl", "is-system-running", "--wait").strip() == "running"
            ):
                return at
        time.sleep(0.1)
    raise TimeoutError(f"{machine.name} is not up 60 s after its reboot")


def _rebooted(host: str, step: str) -> None:
    @named(f"{host} rebooted after `{step}`")
    def carry_out(scene: Scene, home: Path) -> Came:
        process = scene.start_drill(home)
        scene.wait_for_step(process, home, step)
        at = _reboot(scene.machines[host])
        return Came(at, ended(scene, process, home, INCONCLUSIVE, ABORTED, INCOMPLETE))

    @named(f"drillctl killed and {host} rebooted after `{step}`")
    def with_kill(scene: Scene, home: Path) -> Came:
        process = scene.start_drill(home)
        scene.wait_for_step(process, home, step)
        at = kill(process)
        _reboot(scene.machines[host])
        return Came(at, "killed")


_rebooted("gateway", "switch")
_rebooted("zone-a-1", "fault")
_rebooted("zone-b-1", "switch")


@named("standby killed after `switch`")
def standby(scene: Scene, home: Path) -> Came:
    process = scene.start_drill(home)
    at = scene.wait_for_step(process, home, "switch")
    for pid in scene.machines["zone-b-1"].find("-m inference serve"):
        os.kill(pid, signal.SIGKILL)
    # Its supervisor brings it back, or drillctl gives up and brings the primary back: either way within a minute.
    return Came(at, ended(scene, process, home, PASSED, FAILED, INCONCLUSIVE, ABORTED), allowed=20.0)


# --- disks --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def small(machine: Machine, folder: str) -> Iterator[None]:
    """Put a file system of 256 KiB over a folder, with the same files in it."""
    machine.shell(
        f"mkdir -p {folder} && cp -a {folder} /run/crash-kept && mount -t tmpfs -o size=256k,mode=755 small {folder}"
        f" && cp -a /run/crash-kept/. {folder}/"
    )
    try:
        yield
    finally:
        # What still runs from there ends within a second; a guard that removes itself may be at it.
        machine.shell(
            f"n=0; until umount {folder} 2>/dev/null; do n=$((n + 1)); [ $n -lt 50 ] || exit 1; sleep 0.1; done;"
            " rm -rf /run/crash-kept"
        )


def fill(machine: Machine, folder: str) -> None:
    """Leave no byte free in a file system."""
    machine.shell(f"cat /dev/zero > {folder}/.fill 2>/dev/null; [ $(df --output=avail {folder} | tail -n 1) = 0 ]")


def empty(machine: Machine, folder: str) -> None:
    """Make room again."""
    machine.shell(f"rm -f {folder}/.fill")


@named("disk of the gateway's config full after `switch`, drillctl killed")
def config_disk(scene: Scene, home: Path) -> Came:
    gateway = scene.machines["gateway"]
    original = gateway.shell(f"sha256sum < {CONFIG}; stat -c '%a %u:%g' {CONFIG}")
    with small(gateway, FOLDER):
        process = scene.start_drill(home)
        scene.wait_for_step(process, home, "switch")
        fill(gateway, FOLDER)
        at = kill(process)
        time.sleep(12)  # the guard tries in vain, and must not lose the file that is there
        if not scene.client.good_for(5.0, at):
            raise RuntimeError("clients lost their service while the disk was full")
        empty(gateway, FOLDER)
        scene.wait(scene.free, 60, "the guard has put the config back once there is room")
        if gateway.shell(f"sha256sum < {CONFIG}; stat -c '%a %u:%g' {CONFIG}") != original:
            raise RuntimeError("the config that the guard put back is not the original")
    return Came(at, "killed; room again after 12 s")


def _guard_disk(host: str, step: str, *codes: int) -> None:
    @named(f"disk of {host}'s guard full after `{step}`")
    def carry_out(scene: Scene, home: Path) -> Came:
        machine = scene.machines[host]
        with small(machine, "/var/lib/drillctl"):
            process = scene.start_drill(home)
            at = scene.wait_for_step(process, home, step)
            fill(machine, "/var/lib/drillctl")
            words = ended(scene, process, home, *codes)
            scene.wait(scene.free, 60, "the guards have freed the leases")
            empty(machine, "/var/lib/drillctl")
        return Came(at, words)


_guard_disk("gateway", "connect", NOT_STARTED, ABORTED)
_guard_disk("zone-a-1", "connect", NOT_STARTED, FAILED, INCONCLUSIVE, ABORTED, INCOMPLETE)


# --- nginx --------------------------------------------------------------------------------------------------------


@named("`nginx -t` fails from `traffic` until the drill has ended")
def broken_config(scene: Scene, home: Path) -> Came:
    gateway = scene.machines["gateway"]
    process = scene.start_drill(home)
    at = scene.wait_for_step(process, home, "traffic")
    gateway.shell(f"echo 'nonsense;' > {FOLDER}/zz-crash.conf")
    try:
        words = ended(scene, process, home, FAILED, INCONCLUSIVE, INCOMPLETE)
    finally:
        gateway.shell(f"rm {FOLDER}/zz-crash.conf")
    return Came(at, words)


@named("`nginx -t` fails after `switch`, drillctl killed")
def broken_config_killed(scene: Scene, home: Path) -> Came:
    gateway = scene.machines["gateway"]
    process = scene.start_drill(home)
    scene.wait_for_step(process, home, "switch")
    gateway.shell(f"echo 'nonsense;' > {FOLDER}/zz-crash.conf")
    at = kill(process)
    time.sleep(12)
    gateway.shell(f"rm {FOLDER}/zz-crash.conf")
    return Came(at, "killed; mended after 12 s")


@named("nginx does not apply the reload of `switch`")
def not_applied(scene: Scene, home: Path) -> Came:
    # It says 0 and does nothing, once; the drill waits the 10 s of its playbook for the proof.
    shim = "case $* in *reload*) if [ -e /run/no-reload ]; then rm /run/no-reload; exit 0; fi ;; esac"
    with replaced(scene.machines["gateway"], NGINX, f'{shim}; exec /run/crash-program "$@"'):
        scene.machines["gateway"].shell("touch /run/no-reload")
        process = scene.start_drill(home)
        at = scene.wait_for_step(process, home, "fault")
        return Came(at, ended(scene, process, home, FAILED), allowed=10.0)


@contextlib.contextmanager
def replaced(machine: Machine, program: str, script: str) -> Iterator[None]:
    """Put a script in the place of a program, which it finds as /run/crash-program."""
    machine.shell(
        f"cp {program} /run/crash-program && cat > /run/crash-shim <<'END'\n#!/bin/sh\n{script}\nEND\n"
        f"chmod 755 /run/crash-shim && mount --bind /run/crash-shim {program}"
    )
    try:
        yield
    finally:
        machine.shell(f"umount {program} && rm /run/crash-program /run/crash-shim")


# --- clocks -------------------------------------------------------------------------------------------------------


def _clock(words: str, offset: str) -> None:
    @named(f"clock of drillctl's machine jumps an hour {words} after `fault`")
    def here(scene: Scene, home: Path) -> Came:
        """As drillctl sees it: the wall clock of one machine cannot be set apart from the others' on it."""
        clock = home / "clock"
        clock.write_text("+0")
        environment = {
            "LD_PRELOAD": _faketime(),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        process = scene.start_drill(home, program="tests.crash.faketime", **environment)
        at = scene.wait_for_step(process, home, "fault")
        clock.write_text(offset)
        return Came(at, ended(scene, process, home, PASSED))

    @named(f"`date` of the gateway jumps an hour {words} after `switch`")
    def there(scene: Scene, home: Path) -> Came:
        """As the scripts of drillctl and the guard see it; times of files stay those of the kernel."""
        gateway = scene.machines["gateway"]
        process = scene.start_drill(home)
        at = scene.wait_for_step(process, home, "switch")
        with replaced(gateway, DATE, f'exec /run/crash-program -d "{offset}our" "$@"'):
            return Came(at, ended(scene, process, home, PASSED))


_clock("ahead", "+1h")
_clock("back", "-1h")


def _faketime() -> str:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        raise RuntimeError("libfaketime is not installed: make setup")
    return str(found[0])
