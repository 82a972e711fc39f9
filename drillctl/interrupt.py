"""Ctrl-C and SIGTERM: the first asks the drill to stop and restore, the second ends the program at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Self

from drillctl.errors import Aborted

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


class Interrupt:
    """Whether somebody asked to stop. Steps ask between actions and sleep here, so that nothing is cut in half."""

    def __init__(self, *, last_words: str = "", say: Callable[[str], None] | None = None) -> None:
        self.last_words = last_words
        self._say = say or (lambda _: None)
        self._asked = threading.Event()
        self._restoring = False
        self._name = ""
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        """Take over SIGINT, SIGTERM and SIGHUP; only in the main thread."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @property
    def asked(self) -> bool:
        """Tell whether somebody asked to stop."""
        return self._asked.is_set()

    def ask(self, name: str) -> None:
        """Ask to stop, as a signal of that name would."""
        self._name = name
        self._asked.set()

    def check(self) -> None:
        """Raise Aborted when somebody asked to stop, unless things are being restored."""
        if self._asked.is_set() and not self._restoring:
            raise Aborted(f"stopped by {self._name}")

    def sleep(self, seconds: float) -> None:
        """Wait; raise Aborted as soon as somebody asks to stop."""
        if self._restoring:
            threading.Event().wait(seconds)
        else:
            self._asked.wait(seconds)
            self.check()

    def restoring(self) -> None:
        """From now on a first signal does not stop what is going on."""
        self._restoring = True

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGHUP:
            # The terminal is gone: stop and restore, but a second SIGHUP must not end the restoring.
            self.ask(name)
            return
        if self._asked.is_set():
            # Only calls that are safe within a signal handler: the program may hold any lock.
            os.write(sys.stderr.fileno(), f"\nstopped by a second signal. {self.last_words}\n".encode())
            os._exit(128 + number)
        self.ask(name)
        word = "still restoring" if self._restoring else "stopping: everything is being put back"
        self._say(f"{name}: {word}. A second signal ends drillctl at once. {self.last_words}")
