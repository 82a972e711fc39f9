"""The undos of the guard: done last first, checked before they act, tried again, and nothing is left behind."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Guard, Zone

ORIGINAL = b"upstream a;  # \xff not UTF-8\n"
OURS = b"upstream b;\n"
SYSTEMCTL = 'echo "$@" >> "$(dirname "$0")/calls"'


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def live(guard: Guard, content: bytes = OURS) -> Path:
    """Return the live config of a gateway, in a folder with a blank in its name."""
    path = guard.top / "etc nginx" / "service.conf"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def register_restore(guard: Guard, path: Path, url: str, mode: str = "640") -> None:
    """Register a restore whose reload notes that it was called, and with which bytes in place."""
    owner = f"{os.getuid()}:{os.getgid()}"
    reload = f"sha256sum < '{path}' >> '{guard.top}/reloads'"
    words = (str(path), sha(ORIGINAL), mode, owner, sha(OURS), reload, url)
    guard.say("register", "1", "gateway.restore", "gateway.restore", *words, stdin=ORIGINAL)


def reloads(guard: Guard) -> list[str]:
    path = guard.top / "reloads"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def test_the_original_config_comes_back_byte_for_byte(guard: Guard, zone: Zone) -> None:
    path = live(guard)
    guard.acquire()
    register_restore(guard, path, zone.url)
    guard.kill_watch()
    guard.expire()
    guard.say("tick")
    assert path.read_bytes() == ORIGINAL
    assert path.stat().st_mode & 0o777 == 0o640
    assert reloads(guard) == [sha(ORIGINAL)]
    assert list(path.parent.iterdir()) == [path]
    assert guard.files() == {"epoch"}


def test_nothing_is_undone_while_the_lease_lasts(guard: Guard, zone: Zone) -> None:
    path = live(guard)
    guard.acquire()
    register_restore(guard, path, zone.url)
    guard.say("tick")
    assert path.read_bytes() == OURS
    assert guard.show().state == "held"


def test_the_gateway_stays_where_there_is_service_until_the_zone_answers(guard: Guard, zone: Zone) -> None:
    path = live(guard)
    zone.status = 503
    guard.acquire()
    register_restore(guard, path, zone.url)
    guard.kill_watch()
    guard.expire()
    for _ in range(3):
        guard.say("tick")
    assert path.read_bytes() == OURS
    assert reloads(guard) == []
    held = guard.show()
    assert held.state == "undoing"
    assert [order.kind for order in held.orders] == ["gateway.restore"]
    # It says so, and does not say the same three times.
    assert sum("does not answer 200" in line for line in held.log) == 1
    zone.status = 200
    guard.say("tick")
    assert path.read_bytes() == ORIGINAL
    assert guard.show().state == "free"


def test_a_config_that_someone_else_changed_is_left_alone(guard: Guard, zone: Zone) -> None:
    path = live(guard, b"someone else's\n")
    guard.acquire()
    register_restore(guard, path, zone.url)
    guard.kill_watch()
    guard.expire()
    guard.say("tick")
    assert path.read_bytes() == b"someone else's\n"
    assert any("someone else changed" in line for line in guard.show().log)


def test_a_config_that_is_gone_is_put_back(guard: Guard, zone: Zone) -> None:
    path = live(guard)
    guard.acquire()
    register_restore(guard, path, zone.url)
    path.unlink()
    guard.say("undo", "1")
    assert path.read_bytes() == ORIGINAL


def test_a_failed_reload_is_tried_again(guard: Guard, zone: Zone) -> None:
    path = live(guard)
    guard.acquire()
    words = (str(path), sha(ORIGINAL), "640", f"{os.getuid()}:{os.getgid()}", sha(OURS))
    reload = f"test -e '{guard.top}/nginx-runs' || {{ echo no nginx; false; }}"
    guard.say("register", "1", "gateway.restore", "gateway.restore", *words, reload, zone.url, stdin=ORIGINAL)
    failed = guard.start("undo", "1")
    assert failed.returncode == 77
    assert "no nginx" in failed.stdout
    (guard.top / "nginx-runs").touch()
    guard.say("undo", "1")
    assert guard.show().orders == ()


@pytest.mark.parametrize("program", ["curl", "wget", "perl", "nc", "bash"])
def test_the_zone_is_asked_by_whatever_program_there_is(any_guard: Guard, zone: Zone, program: str) -> None:
    order = ["curl", "wget", "perl", "nc", "bash"]
    if subprocess.run(["sh", "-c", f"command -v {program}"], stdout=subprocess.DEVNULL, check=False).returncode:
        if program != "nc":
            pytest.skip(f"there is no {program} here")
        any_guard.put("nc", 'exec busybox nc "$@"')
    any_guard.without = tuple(order[: order.index(program)])
    any_guard.install()
    path = live(any_guard)
    any_guard.acquire()
    register_restore(any_guard, path, zone.url)
    zone.status = 503
    assert any_guard.start("undo", "1").returncode == 77
    zone.status = 200
    any_guard.say("undo", "1")
    assert path.read_bytes() == ORIGINAL
    assert zone.asked == 2


def test_a_unit_is_revived(guard: Guard) -> None:
    hold = guard.top / "inference.service.d" / "90-drillctl-hold.conf"
    hold.parent.mkdir()
    hold.write_text("[Service]\nRestart=no\n")
    guard.put("systemctl", SYSTEMCTL)
    guard.acquire()
    guard.say("register", "1", "service.revive", "service.revive", "systemd", "inference.service", str(hold))
    guard.say("undo", "1")
    assert not hold.parent.exists()
    calls = (guard.bin / "calls").read_text().splitlines()
    assert calls == ["reset-failed -- inference.service", "daemon-reload", "start --no-block -- inference.service"]
    # Again is fine.
    guard.say("register", "1", "service.revive", "service.revive", "systemd", "inference.service", str(hold))
    guard.say("undo", "1")


def test_a_unit_that_cannot_be_started_stays_outstanding(guard: Guard) -> None:
    guard.put("systemctl", "exit 1")
    guard.acquire()
    guard.say("register", "1", "service.revive", "service.revive", "systemd", "a.service", "/nowhere/hold.conf")
    assert guard.start("undo", "1").returncode == 77


def test_the_drop_in_of_others_is_kept(guard: Guard) -> None:
    folder = guard.top / "inference.service.d"
    folder.mkdir()
    (folder / "90-drillctl-hold.conf").touch()
    (folder / "10-theirs.conf").touch()
    guard.put("systemctl", SYSTEMCTL)
    guard.acquire()
    hold = str(folder / "90-drillctl-hold.conf")
    guard.say("register", "1", "service.revive", "service.revive", "systemd", "inference.service", hold)
    guard.say("undo", "1")
    assert [path.name for path in folder.iterdir()] == ["10-theirs.conf"]


def test_staged_files_are_removed_and_nothing_else(guard: Guard) -> None:
    staged = guard.top / ".drillctl-run 1"
    (staged / "deep").mkdir(parents=True)
    kept = guard.top / "kept"
    kept.mkdir()
    guard.acquire()
    guard.say("register", "1", "gateway.discard", "gateway.discard", str(staged), str(kept), f"{staged}.conf")
    guard.say("undo", "1")
    assert not staged.exists()
    assert kept.exists()


def test_the_last_registered_is_undone_first(guard: Guard) -> None:
    guard.put("systemctl", SYSTEMCTL)
    guard.acquire()
    for name in ("first", "second", "third"):
        guard.say("register", "1", name, "service.revive", "systemd", f"{name}.service", "/nowhere/hold.conf")
    guard.say("undo", "1")
    calls = (guard.bin / "calls").read_text().splitlines()
    starts = [line.split()[-1] for line in calls if line.startswith("start")]
    assert starts == ["third.service", "second.service", "first.service"]


def test_what_can_be_undone_is_undone_though_another_undo_fails(guard: Guard) -> None:
    staged = guard.top / ".drillctl-x"
    staged.mkdir()
    guard.acquire()
    guard.say("register", "1", "gateway.discard", "gateway.discard", str(staged))
    guard.say("register", "1", "odd", "no.such.kind")
    assert guard.start("undo", "1").returncode == 77
    assert not staged.exists()
    assert [order.id for order in guard.show().orders] == ["odd"]


def process_memory(guard: Guard, secret: str) -> bytes:
    pidfile, log = guard.top / "run" / "service.pid", guard.top / "service.log"
    script = f'echo "$SECRET" > "{guard.top}/secret"; exec sleep 600 "$@"'
    words = ["sh", "-c", script, "sh"]
    lines = [str(pidfile), str(guard.top), str(log), str(len(words)), *words, f"SECRET={secret}", "B=1 2"]
    return "".join(f"{line}\n" for line in lines).encode()


def test_the_watch_starts_a_process_again_from_memory_alone(guard: Guard) -> None:
    secret = "canary-7f3a"
    guard.acquire(ttl=30, stdin=process_memory(guard, secret))
    guard.say("register", "1", "service.revive", "service.revive", "process")
    for path in guard.folder.rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes(), path
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert secret.encode() not in path.read_bytes()
        except OSError:
            continue
    until(lambda: bool(guard.watches()))
    guard.expire()
    until(lambda: (guard.top / "run" / "service.pid").exists())
    pid, born = map(int, (guard.top / "run" / "service.pid").read_text().split())
    try:
        until(lambda: (guard.top / "secret").exists())
        assert (guard.top / "secret").read_text().strip() == secret
        assert os.getsid(pid) == pid
        assert born > 0
        until(lambda: guard.files() == {"epoch"})
        until(lambda: not guard.watches())
        # It goes on running, and holds no lock of the guard's.
        assert Path(f"/proc/{pid}").exists()
        guard.install()
        assert guard.acquire(stdin=process_memory(guard, secret)) == "2"
        # One that runs is left alone.
        guard.say("register", "2", "service.revive", "service.revive", "process")
        until(lambda: bool(guard.watches()))
        guard.expire()
        until(lambda: guard.files() == {"epoch"})
        assert int((guard.top / "run" / "service.pid").read_text().split()[0]) == pid
    finally:
        os.kill(pid, signal.SIGKILL)


def test_without_its_watch_a_process_stays_outstanding_and_the_guard_says_why(guard: Guard) -> None:
    guard.acquire(stdin=process_memory(guard, "x"))
    guard.say("register", "1", "service.revive", "service.revive", "process")
    guard.kill_watch()
    guard.expire()
    guard.say("tick")
    assert any("only the watch process knows" in line for line in guard.show().log)


def test_the_watch_undoes_when_nobody_renews(guard: Guard, zone: Zone) -> None:
    path = live(guard)
    guard.acquire(ttl=1)
    register_restore(guard, path, zone.url)
    begun = time.monotonic()
    until(lambda: path.read_bytes() == ORIGINAL)
    assert time.monotonic() - begun < 1 + 5
    until(lambda: guard.files() == {"epoch"})
    until(lambda: not guard.watches())


def test_renewing_keeps_the_lease(guard: Guard, zone: Zone) -> None:
    path = live(guard)
    guard.acquire(ttl=2)
    register_restore(guard, path, zone.url)
    end = time.monotonic() + 4.5
    while time.monotonic() < end:
        guard.say("renew", "1")
        time.sleep(0.3)
    assert path.read_bytes() == OURS
    assert guard.show().state == "held"


@pytest.mark.parametrize("clock", [b"1 another-boot 99\n", b"", b"\0\0\0\0", None])
def test_after_a_boot_the_watch_goes_on_whatever_became_of_the_clock(
    guard: Guard, zone: Zone, clock: bytes | None
) -> None:
    """It is not synced: a power cut may leave it empty, or with no bytes of its own."""
    path = live(guard)
    guard.acquire()
    register_restore(guard, path, zone.url)
    guard.kill_watch()
    (guard.folder / "clock").unlink()
    if clock is not None:
        (guard.folder / "clock").write_bytes(clock)
    assert guard.show().state == "expired"
    guard.say("boot")
    assert path.read_bytes() == ORIGINAL
    assert guard.files() == {"epoch"}


def test_after_a_boot_without_a_lease_there_is_nothing_to_watch(guard: Guard) -> None:
    guard.acquire()
    guard.say("release", "1")
    guard.install()
    guard.say("boot")


def test_a_clock_that_cannot_be_read_has_run_out_for_the_watch(guard: Guard, zone: Zone) -> None:
    path = live(guard)
    guard.acquire()
    register_restore(guard, path, zone.url)
    (guard.folder / "clock").write_bytes(b"")
    until(lambda: guard.files() == {"epoch"})
    assert path.read_bytes() == ORIGINAL
    until(lambda: not guard.watches())


def test_a_lease_that_a_full_disk_keeps_from_being_taken_again_keeps_its_watch(guard: Guard, zone: Zone) -> None:
    path = live(guard)
    guard.acquire(ttl=3)
    register_restore(guard, path, zone.url)
    until(lambda: bool(guard.watches()))
    (guard.folder / ".clock").mkdir()
    assert guard.start("acquire", "run-1", "me", "3").returncode == 74
    assert path.read_bytes() == OURS
    until(lambda: path.read_bytes() == ORIGINAL)


def test_it_gives_up_after_a_while_and_keeps_the_undo(any_guard: Guard, zone: Zone) -> None:
    path = live(any_guard)
    zone.status = 503
    any_guard.acquire()
    register_restore(any_guard, path, zone.url)
    any_guard.kill_watch()
    any_guard.expire()
    any_guard.say("tick")
    boot, _ = (any_guard.folder / "undoing").read_text().split()
    (any_guard.folder / "undoing").write_text(f"{boot} -1000\n")
    any_guard.say("tick")
    held = any_guard.show()
    assert held.state == "stuck"
    assert any("given up" in line for line in held.log)
    zone.status = 200
    any_guard.say("tick")
    assert path.read_bytes() == OURS
    # Who recovers takes it over and has it tried again.
    assert any_guard.acquire() == "2"
    any_guard.say("undo", "2")
    assert path.read_bytes() == ORIGINAL


def test_a_broken_lease_is_undone_by_itself_although_it_had_been_given_up(guard: Guard, zone: Zone) -> None:
    path = live(guard)
    zone.status = 503
    guard.acquire()
    register_restore(guard, path, zone.url)
    guard.kill_watch()
    (guard.folder / "stuck").touch()
    assert "state undoing" in guard.say("break", "run-1")
    assert path.read_bytes() == OURS
    zone.status = 200
    until(lambda: guard.files() == {"epoch"})
    assert path.read_bytes() == ORIGINAL


def test_a_full_disk_refuses_a_registration_but_stops_no_undo(any_guard: Guard, zone: Zone) -> None:
    path = live(any_guard)
    any_guard.acquire()
    register_restore(any_guard, path, zone.url)
    any_guard.kill_watch()
    any_guard.expire()
    # A state folder that takes no new file, as a full disk does; root needs the kernel's flag for that.
    if subprocess.run(["chattr", "+i", str(any_guard.folder)], capture_output=True, check=False).returncode:
        pytest.skip("this filesystem cannot be made to refuse root")
    try:
        assert any_guard.start("register", "1", "late", "gateway.discard", "/x").returncode == 74
        any_guard.start("tick")
        assert path.read_bytes() == ORIGINAL
    finally:
        subprocess.run(["chattr", "-i", str(any_guard.folder)], check=True)
