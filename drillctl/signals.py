"""Signals as they come, heard by a thread of their own: nothing that the main thread does or waits for delays one."""

from __future__ import annotations

import signal
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Listener:
    """Calls `heard` in a thread of its own, once for each signal of these numbers, one after the other.

    Python runs a handler in the main thread, between two steps of its own. One that comes as that thread is about to
    wait for a lock is heard when the wait is over, and two that come meanwhile are heard as one. What Python writes
    to a wakeup socket, it writes the moment that a signal comes.
    """

    def __init__(self, numbers: Iterable[signal.Signals], heard: Callable[[int], None]) -> None:
        self._numbers = tuple(numbers)
        self._heard = heard
        self._before: dict[int, object] = {}
        self._wakeup_before = -1

    def start(self) -> None:
        """Take over the signals; only in the main thread."""
        self._ours, self._pythons = socket.socketpair()
        self._pythons.setblocking(False)
        self._wakeup_before = signal.set_wakeup_fd(self._pythons.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._thread.start()
        for number in self._numbers:
            # Without a handler of Python's nothing would be written.
            self._before[number] = signal.signal(number, lambda *_: None)

    def stop(self) -> None:
        """Give them back; what came until now has been heard by then."""
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._wakeup_before)
        self._pythons.close()
        self._thread.join()
        self._ours.close()

    def _listen(self) -> None:
        while came := self._ours.recv(64):
            for number in came:
                if number in self._numbers:
                    self._heard(number)
