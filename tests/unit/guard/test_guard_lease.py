"""The lease: one holder, rising epochs, stale commands refused, nothing left behind. By each shell."""

from __future__ import annotations

import copy
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drillctl.guard.client import program

if TYPE_CHECKING:
    from conftest import Guard

HELD, STALE, OUTSTANDING = 75, 76, 77
NOTE = ("gateway.discard", "/nowhere/.drillctl-x")


def until(condition: object, seconds: float = 20) -> None:
    """Wait until a callable says yes."""
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_lease_is_taken_shown_and_given_back(guard: Guard) -> None:
    assert guard.acquire("run-1", 20) == "1"
    held = guard.show()
    assert (held.state, held.run, held.owner, held.epoch) == ("held", "run-1", "me@here pid 7", 1)
    assert 18 <= held.remaining <= 20
    guard.say("release", "1")
    assert guard.files() == {"epoch"}
    until(lambda: not guard.watches())


def test_epochs_rise_for_ever(guard: Guard) -> None:
    for expected in ("1", "2", "3"):
        guard.install()
        assert guard.acquire() == expected
        guard.say("release", expected)


def test_a_second_run_is_told_who_holds_it(guard: Guard) -> None:
    guard.acquire("run-1")
    refused = guard.start("acquire", "run-2", "you", "30")
    assert refused.returncode == HELD
    assert "run run-1\nowner me@here pid 7\nsince 20" in refused.stdout
    assert guard.show().run == "run-1"


def test_a_lease_that_ran_out_with_nothing_to_undo_may_be_taken(guard: Guard) -> None:
    guard.acquire("run-1")
    guard.kill_watch()
    guard.expire()
    assert guard.show().state == "expired"
    assert guard.acquire("run-2") == "2"
    assert guard.show().run == "run-2"


def test_an_unfinished_run_keeps_others_out_after_its_time(guard: Guard) -> None:
    guard.acquire("run-1")
    guard.say("register", "1", "a", *NOTE)
    guard.kill_watch()
    guard.expire()
    refused = guard.start("acquire", "run-2", "you", "30")
    assert refused.returncode == HELD
    assert "state expired" in refused.stdout
    assert "undo a" in refused.stdout


def test_the_same_run_takes_over_what_it_left_and_its_old_epoch_is_stale(guard: Guard) -> None:
    guard.acquire("run-1")
    guard.say("register", "1", "a", *NOTE)
    assert guard.acquire("run-1") == "2"
    assert [order.id for order in guard.show().orders] == ["a"]
    for words in (("renew", "1"), ("register", "1", "b", *NOTE), ("strike", "1", "a"), ("release", "1"), ("undo", "1")):
        done = guard.start(*words)
        assert done.returncode == STALE, words
        assert "stale" in done.stderr
    until(lambda: len(guard.watches()) == 1)
    assert [order.id for order in guard.show().orders] == ["a"]


def test_no_command_is_obeyed_once_undoing_has_begun(guard: Guard) -> None:
    guard.acquire()
    guard.say("register", "1", "a", "gateway.restore", *RESTORE, stdin=b"x")
    guard.kill_watch()
    guard.expire()
    guard.say("tick")
    assert guard.show().state == "undoing"
    for words in (("renew", "1"), ("register", "1", "b", *NOTE), ("release", "1")):
        assert guard.start(*words).returncode == STALE


RESTORE = (
    "/nowhere/live",
    "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
    "644",
    "0:0",
    "",
    "true",
    "http://127.0.0.1:1/health",
)


def test_a_lease_is_not_given_back_while_undos_are_outstanding(guard: Guard) -> None:
    guard.acquire()
    guard.say("register", "1", "a", *NOTE)
    refused = guard.start("release", "1")
    assert refused.returncode == OUTSTANDING
    assert "undo a" in refused.stdout
    guard.say("strike", "1", "a")
    guard.say("strike", "1", "a")
    guard.say("release", "1")


def test_a_full_disk_keeps_nobody_from_taking_things_back(any_guard: Guard) -> None:
    any_guard.acquire()
    any_guard.say("register", "1", "a", *NOTE)
    # A folder where the clock's new file should be: it can be written no more than on a full disk.
    (any_guard.folder / ".clock").mkdir()
    for command in (("renew", "1"), ("register", "1", "b", *NOTE)):
        refused = any_guard.start(*command)
        assert refused.returncode == 74
        assert "clock could not be written" in refused.stderr
    any_guard.say("strike", "1", "a")
    any_guard.say("undo", "1")
    any_guard.say("release", "1")
    assert any_guard.show().state == "free"


def test_arguments_keep_blanks_quotes_and_stars(guard: Guard) -> None:
    guard.acquire()
    odd = ("", "a  b", "it's", '"quoted"', "$HOME `id`", "*", "\\n", "-n", "umläut 红")
    guard.say("register", "1", "odd", "gateway.discard", *odd)
    assert guard.show().orders[0].arguments == odd


def test_the_same_id_again_takes_the_place_of_the_first(guard: Guard) -> None:
    guard.acquire()
    guard.say("register", "1", "a", "gateway.discard", "/one")
    guard.say("register", "1", "b", "gateway.discard", "/two")
    guard.say("register", "1", "a", "gateway.discard", "/three")
    assert [(order.id, order.arguments) for order in guard.show().orders] == [("a", ("/three",)), ("b", ("/two",))]


def test_kept_bytes_that_did_not_arrive_whole_register_nothing(guard: Guard) -> None:
    guard.acquire()
    done = guard.start("register", "1", "a", "gateway.restore", *RESTORE, stdin=b"y")
    assert done.returncode == 74
    assert guard.show().orders == ()


def test_only_one_of_many_gets_the_lease(guard: Guard) -> None:
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda n: guard.start("acquire", f"run-{n}", "x", "30"), range(8)))
    assert sorted(d.returncode for d in done) == [0] + [HELD] * 7
    winner = next(n for n, d in enumerate(done) if d.returncode == 0)
    assert guard.show().run == f"run-{winner}"


def test_many_registrations_at_once_are_all_there(guard: Guard) -> None:
    guard.acquire()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: guard.say("register", "1", f"id-{n}", *NOTE), range(20)))
    assert {order.id for order in guard.show().orders} == {f"id-{n}" for n in range(20)}


def beside(guard: Guard, name: str) -> Guard:
    """Return the guard of the same machine under another name."""
    other = copy.copy(guard)
    other.folder = guard.folder.parent / name
    other.folder.mkdir(mode=0o700)
    other.install()
    return other


@pytest.mark.parametrize("without", [(), ("flock",)])
def test_a_machine_has_one_drill_whatever_inventories_call_it(guard: Guard, without: tuple[str, ...]) -> None:
    guard.without = without
    guard.install()
    other = beside(guard, "gw 1")
    try:
        other.acquire("run-1")
        refused = guard.start("acquire", "run-2", "you", "30")
        assert refused.returncode == HELD
        assert "state held\nepoch 1\nrun run-1\nowner me@here pid 7\n" in refused.stdout
        assert refused.stdout.endswith(f"beside {other.folder}\n")
        assert guard.files() == {"epoch"}
        # The same run may have both: the machine plays two of its hosts.
        guard.install()
        guard.acquire("run-1")
        # Unfinished counts as held, as it does under the machine's own name.
        other.say("register", "1", "a", "gateway.restore", *RESTORE, stdin=b"x")
        other.kill_watch()
        other.expire()
        guard.say("release", guard.epoch())
        guard.install()
        refused = guard.start("acquire", "run-2", "you", "30")
        assert (refused.returncode, "state expired" in refused.stdout) == (HELD, True)
        # What is nobody's any more is in nobody's way.
        other.say("break", "run-1", "forget")
        guard.install()
        guard.acquire("run-2")
    finally:
        other.end()


def test_the_locks_of_guards_beside_are_left_to_them(guard: Guard) -> None:
    guard.without = ("flock",)
    guard.install()
    other = beside(guard, "gw-1")
    try:
        other.acquire("run-1")
        (other.folder / "lock").symlink_to("1 5 another-boot")
        assert guard.start("acquire", "run-2", "you", "30").returncode == HELD
        assert (other.folder / "lock").is_symlink()
        assert not (guard.folder / "lock").is_symlink()
    finally:
        other.end()


def test_a_run_puts_back_what_it_left_although_another_one_is_beside(guard: Guard) -> None:
    guard.acquire("run-1")
    guard.say("register", "1", "a", *NOTE)
    other = beside(guard, "gw-1")
    try:
        (guard.folder / "lease").rename(guard.top / "lease")
        other.acquire("run-2")
        (guard.top / "lease").rename(guard.folder / "lease")
        assert guard.acquire("run-1") == "2"
        guard.say("undo", "2")
    finally:
        other.end()


def test_of_two_names_of_one_machine_at_most_one_gets_the_lease(guard: Guard) -> None:
    names = [guard, *(beside(guard, f"gw-{number}") for number in range(3))]
    try:
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda one: one.start("acquire", f"run {one.folder.name}", "x", "30"), names))
        assert {d.returncode for d in done} <= {0, HELD}
        assert sum(d.returncode == 0 for d in done) <= 1
    finally:
        for one in names:
            one.end()


def test_without_flock_only_one_gets_the_lease_too(any_guard: Guard) -> None:
    any_guard.without = ("flock",)
    any_guard.install()
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda n: any_guard.start("acquire", f"run-{n}", "x", "30"), range(6)))
    assert sorted(d.returncode for d in done) == [0] + [HELD] * 5
    assert "lock" not in any_guard.files()


def test_without_flock_the_lock_of_a_dead_process_is_taken_away(any_guard: Guard) -> None:
    any_guard.without = ("flock",)
    any_guard.install()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    for dead in (f"999999 5 {boot}", "1 5 another-boot"):
        (any_guard.folder / "lock").symlink_to(dead)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: any_guard.say("show"), range(4)))
    assert not any(name.startswith(("lock", "dead")) for name in any_guard.files())


def test_setting_the_clock_changes_nothing_and_a_reboot_counts_as_run_out(any_guard: Guard) -> None:
    any_guard.acquire()
    any_guard.kill_watch()
    # Another wall clock: the guard asks nobody for one.
    any_guard.put("date", 'echo "2050-01-01T00:00:00Z"')
    assert any_guard.show().state == "held"
    epoch, _, deadline = (any_guard.folder / "clock").read_text().split()
    (any_guard.folder / "clock").write_text(f"{epoch} 00000000-another-boot {deadline}\n")
    assert any_guard.show().state == "expired"


def test_only_the_exact_run_is_broken(guard: Guard) -> None:
    guard.acquire("run-12")
    for wrong in ("run-1", "run-123", "", "RUN-12"):
        assert guard.start("break", wrong).returncode == 2
    assert guard.show().state == "held"
    assert "state free" in guard.say("break", "run-12")
    assert guard.files() == {"epoch"}


def test_a_broken_lease_may_forget_what_cannot_be_undone(guard: Guard) -> None:
    guard.acquire("run-1")
    guard.say("register", "1", "a", "gateway.restore", *RESTORE, stdin=b"x")
    assert "state undoing" in guard.say("break", "run-1")
    assert "state free" in guard.say("break", "run-1", "forget")
    assert guard.files() == {"epoch"}


def test_wrong_words_are_refused(guard: Guard) -> None:
    guard.acquire()
    assert guard.start("dance").returncode == 2
    assert guard.start("register", "1", "../a b", "x").returncode == 2
    assert guard.start("release").returncode != 0
    assert guard.start("release", "").returncode != 0
    assert guard.show().state == "held"


def test_shellcheck_finds_nothing(tmp_path: Path) -> None:
    script = tmp_path / "guard.sh"
    script.write_bytes(program())
    shellcheck = str(Path(sys.executable).with_name("shellcheck"))
    done = subprocess.run([shellcheck, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    script.write_text("#!/bin/sh\nrm $1\n")
    assert subprocess.run([shellcheck, str(script)], capture_output=True, check=False).returncode == 1


def test_a_guard_that_removed_itself_while_somebody_waited_gives_no_lease(guard: Guard) -> None:
    """Otherwise there would be a lease, timer and boot unit, and no program to undo anything."""
    guard.acquire()
    guard.kill_watch()
    # The one who waits has started the program already when it is removed.
    with (guard.folder / "guard.sh").open() as program:
        guard.say("release", "1")
        assert not (guard.folder / "guard.sh").exists()
        words = [*guard.shell, "/dev/stdin", str(guard.folder), "acquire", "run-2", "me", "30"]
        done = subprocess.run(words, stdin=program, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 127
    assert "guard.sh is gone" in done.stderr
    assert guard.files() == {"epoch"}
