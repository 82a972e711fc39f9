"""Ctrl-C and SIGTERM: the first asks the drill to stop and restore, the second ends the program at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import Self

from drillctl.errors import Aborted
from drillctl.signals import Listener


class Interrupt:
    """Whether somebody asked to stop. Steps ask between actions and sleep here, so that nothing is cut in half."""

    def __init__(self, *, last_words: str = "") -> None:
        self.last_words = last_words
        self._asked = threading.Event()
        self._signalled = False
        self._restoring = False
        self._name = ""
        self._listener = Listener((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), self._on_signal)

    def __enter__(self) -> Self:
        """Take over SIGINT, SIGTERM and SIGHUP; only in the main thread."""
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.stop()

    @property
    def asked(self) -> bool:
        """Tell whether somebody asked to stop."""
        return self._asked.is_set()

    @property
    def reason(self) -> str:
        """Return who or what asked to stop, in words."""
        return f"stopped by {self._name}"

    def ask(self, name: str) -> None:
        """Ask to stop, as a signal of that name would; whoever asked first is named."""
        if not self._asked.is_set():
            self._name = name
        self._asked.set()

    def check(self) -> None:
        """Raise Aborted when somebody asked to stop, unless things are being restored."""
        if self._asked.is_set() and not self._restoring:
            raise Aborted(self.reason)

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

    def _on_signal(self, number: int) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGHUP:
            # The terminal is gone: stop and restore, but a second SIGHUP must not end the restoring.
            self._signalled = True
            self.ask(name)
            return
        # Somebody's first signal must not end a restore that a stop condition asked for.
        if self._signalled:
            _say(f"stopped by a second signal. {self.last_words}")
            os._exit(128 + number)
        self._signalled = True
        self.ask(name)
        word = "still restoring" if self._restoring else "stopping: everything is being put back"
        _say(f"{name}: {word}. A second signal ends drillctl at once. {self.last_words}")


def _say(text: str) -> None:
    """Write to stderr past the locks of a print: whoever holds them may wait for a terminal that was stopped."""
    with contextlib.suppress(OSError):
        os.write(2, f"\n{text}\n".encode())
