"""Signals, sent for real to a process of its own: the first stops and restores, the second ends at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from drillctl.errors import Aborted
from drillctl.interrupt import Interrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORDS = "`drillctl recover RUN` puts everything back."

PROGRAM = f"""
import sys, time
from drillctl.errors import Aborted
from drillctl.interrupt import Interrupt

with Interrupt(last_words={WORDS!r}) as interrupt:
    if "restoring" in sys.argv:
        interrupt.restoring()
    print("ready", flush=True)
    try:
        {{how}}
    except Aborted as error:
        print("aborted", error, flush=True)
        if "stay" in sys.argv:
            time.sleep(30)
    print("end", flush=True)
"""

SLEEP = "interrupt.sleep(30)"
CHECK = "\n        ".join(("while True:", "    interrupt.check()", "    time.sleep(0.01)"))
RESTORE = "interrupt.sleep(0.5); interrupt.check()"


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts the program above and waits until it listens to signals."""
    started: list[subprocess.Popen[str]] = []

    def run(how: str, *words: str) -> subprocess.Popen[str]:
        program = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(how=how), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(program)
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        return program

    yield run
    for program in started:
        program.kill()
        program.communicate()


@pytest.mark.parametrize("how", [SLEEP, CHECK], ids=["sleep", "check"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_what_sleeps_or_checks(
    start: Callable[..., subprocess.Popen[str]], how: str, number: signal.Signals
) -> None:
    program = start(how)
    begun = time.monotonic()
    program.send_signal(number)
    out, err = program.communicate(timeout=10)
    assert time.monotonic() - begun < 5
    assert err == (
        f"\n{number.name}: stopping: everything is being put back. A second signal ends drillctl at once. {WORDS}\n"
    )
    assert out.splitlines() == [f"aborted stopped by {number.name}", "end"]
    assert program.returncode == 0


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (signal.SIGINT, signal.SIGINT, 130),
        (signal.SIGTERM, signal.SIGTERM, 143),
        (signal.SIGTERM, signal.SIGINT, 130),
        (signal.SIGHUP, signal.SIGINT, 130),
    ],
)
def test_the_second_signal_ends_it_at_once_and_says_how_to_recover(
    start: Callable[..., subprocess.Popen[str]], first: signal.Signals, second: signal.Signals, code: int
) -> None:
    program = start(SLEEP, "stay")
    program.send_signal(first)
    assert program.stdout is not None
    while not program.stdout.readline().startswith("aborted"):
        pass
    program.send_signal(second)
    out, err = program.communicate(timeout=10)
    assert program.returncode == code
    assert err.endswith(f"\nstopped by a second signal. {WORDS}\n")
    assert "end" not in out


def test_signals_are_heard_while_the_main_thread_hears_nothing(start: Callable[..., subprocess.Popen[str]]) -> None:
    """It may be about to wait for a lock, or, as here, in a call of C that no signal interrupts."""
    program = start("import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)")
    time.sleep(0.2)
    program.send_signal(signal.SIGTERM)
    assert program.stderr is not None
    assert (program.stderr.readline(), program.stderr.readline()[:17]) == ("\n", "SIGTERM: stopping")
    program.send_signal(signal.SIGTERM)
    _, err = program.communicate(timeout=5)
    assert program.returncode == 143
    assert err.endswith(f"\nstopped by a second signal. {WORDS}\n")


def test_signals_that_came_until_the_end_have_been_heard_by_then() -> None:
    for _ in range(200):
        with Interrupt() as interrupt:
            signal.raise_signal(signal.SIGTERM)
        assert interrupt.reason == "stopped by SIGTERM"
        assert interrupt.asked


def test_a_closed_terminal_stops_it_and_a_second_hang_up_does_not_end_the_restoring(
    start: Callable[..., subprocess.Popen[str]],
) -> None:
    program = start(
        "interrupt.sleep(30)\n    except Aborted:\n        interrupt.restoring(); interrupt.sleep(1)", "stay"
    )
    for _ in range(3):
        program.send_signal(signal.SIGHUP)
        time.sleep(0.2)
    out, err = program.communicate(timeout=10)
    assert (program.returncode, err) == (0, "")
    assert out.splitlines() == ["end"], "nobody is left to hear a word"


def test_while_restoring_the_first_signal_does_not_stop_it(start: Callable[..., subprocess.Popen[str]]) -> None:
    program = start(RESTORE, "restoring")
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=10)
    assert program.returncode == 0
    assert err == f"\nSIGINT: still restoring. A second signal ends drillctl at once. {WORDS}\n"
    assert out.splitlines() == ["end"]


def test_while_restoring_the_second_signal_still_ends_it(start: Callable[..., subprocess.Popen[str]]) -> None:
    program = start("interrupt.sleep(30)", "restoring")
    program.send_signal(signal.SIGTERM)
    assert program.stderr is not None
    assert (program.stderr.readline(), program.stderr.readline()[:24]) == ("\n", "SIGTERM: still restoring")
    program.send_signal(signal.SIGTERM)
    _, err = program.communicate(timeout=10)
    assert program.returncode == 143
    assert WORDS in err


def test_a_signal_in_the_middle_of_a_print_stops_nothing_for_good(
    start: Callable[..., subprocess.Popen[str]],
) -> None:
    """A print holds locks; the handler must not wait for them, because it runs in the thread that holds them."""
    program = start(
        "from rich.console import Console; console = Console(stderr=True)\n"
        "        while True: console.print('x' * 4000); interrupt.check()"
    )
    threading.Timer(0.3, program.send_signal, [signal.SIGTERM]).start()
    out, err = program.communicate(timeout=20)
    assert program.returncode == 0
    assert out.splitlines() == ["aborted stopped by SIGTERM", "end"]
    assert "RuntimeError" not in err


def test_the_handlers_from_before_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with Interrupt():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_asking_from_another_thread_ends_a_sleep_at_once() -> None:
    interrupt = Interrupt()
    timer = threading.Timer(0.1, interrupt.ask, ["a stop condition"])
    timer.start()
    begun = time.monotonic()
    with pytest.raises(Aborted, match="stopped by a stop condition"):
        interrupt.sleep(30)
    timer.join()
    assert time.monotonic() - begun < 5
    assert interrupt.asked


def test_nobody_asked_nothing_happens() -> None:
    interrupt = Interrupt()
    interrupt.check()
    begun = time.monotonic()
    interrupt.sleep(0.05)
    assert time.monotonic() - begun >= 0.05


def test_the_first_signal_after_a_stop_condition_does_not_end_the_restoring(
    start: Callable[..., subprocess.Popen[str]],
) -> None:
    """Whoever sees a drill stop by itself and presses Ctrl-C has pressed it once."""
    program = start(
        "interrupt.ask('a stop condition'); interrupt.restoring(); print('asked', flush=True); interrupt.sleep(1)"
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "asked\n"
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=10)
    assert program.returncode == 0
    assert err == f"\nSIGINT: still restoring. A second signal ends drillctl at once. {WORDS}\n"
    assert out.splitlines() == ["end"]


def test_who_asked_first_is_named() -> None:
    interrupt = Interrupt()
    interrupt.ask("SIGINT")
    interrupt.ask("a stop condition")
    with pytest.raises(Aborted, match="stopped by SIGINT"):
        interrupt.check()
