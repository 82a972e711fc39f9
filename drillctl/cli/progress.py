"""What a person sees while a drill runs: one line per step, and a sign of life at least every ten seconds.

A terminal that was closed, or a pipe whose reader is gone, must not end a drill, least of all one that restores: what
cannot be said is left unsaid.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from drillctl.run import StepRecord

_WORDS = {
    "ok": "[green]ok[/]     ",
    "failed": "[red]FAILED[/] ",
    "refused": "[red]REFUSED[/]",
    "skipped": "[yellow]skipped[/]",
}

SIGN_OF_LIFE = 10.0
"""Seconds after which a step that still runs says so."""


class Progress:
    """Prints steps as they end; a `Watcher` of the run."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._running: dict[tuple[str, str], float] = {}
        self._last = time.monotonic()
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._live, name="progress", daemon=True)
        self._thread.start()

    def begun(self, name: str, host: str) -> None:
        """Remember a step that begins."""
        with self._lock:
            self._running[name, host] = time.monotonic()

    def ended(self, record: StepRecord) -> None:
        """Print a step that ended."""
        with self._lock:
            self._running.pop((record.name, record.host), None)
        self._line(record.host, record.name, _WORDS[record.status], record.detail)

    def note(self, text: str) -> None:
        """Print a line of text; a path in it stays in one piece."""
        from rich.markup import escape

        with self._lock:
            self._last = time.monotonic()
            with contextlib.suppress(OSError):
                self._console.print(f"{self._last - self._began:5.1f} s {escape(text)}", soft_wrap=True)

    def close(self) -> None:
        """Stop the signs of life."""
        self._done.set()
        self._thread.join()

    def _line(self, host: str, name: str, word: str, detail: str) -> None:
        from rich.markup import escape
        from rich.table import Table

        with self._lock:
            self._last = time.monotonic()
            # A grid, so that a long detail wraps under itself and not under the time.
            grid = Table.grid(padding=(0, 1), expand=False)
            for width in (7, 10, 12, 7):
                grid.add_column(width=width, no_wrap=True)
            grid.add_column(overflow="fold")
            grid.add_row(
                f"{self._last - self._began:5.1f} s", escape(host), f"[bold]{escape(name)}[/]", word, escape(detail)
            )
            with contextlib.suppress(OSError):
                self._console.print(grid)

    def _live(self) -> None:
        while not self._done.wait(1.0):
            with self._lock:
                quiet = time.monotonic() - self._last
                running = sorted(self._running.items(), key=lambda item: item[1])
            if quiet >= SIGN_OF_LIFE and running:
                (name, host), since = running[0]
                self._line(host, name, "…      ", f"still at it after {time.monotonic() - since:.0f} s")
