"""Whether the server can answer: loading, ready or failed. Written by the loading thread, read by every request."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inference.batching import BatchWorker
    from inference.identity import Fact
    from inference.predictor import Predictor


@dataclass(frozen=True)
class Loading:
    """``progress`` is 0 to 1 and never goes back."""

    progress: float


@dataclass(frozen=True)
class Ready:
    """The model is loaded, warmed up and answering."""

    predictor: Predictor
    worker: BatchWorker
    fingerprint: dict[str, Fact]


@dataclass(frozen=True)
class Failed:
    """The model could not be loaded, or its device failed; only a restart helps."""

    reason: str


class Readiness:
    """The current state and the time since start; a failure is final."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._state: Loading | Ready | Failed = Loading(0.0)

    @property
    def state(self) -> Loading | Ready | Failed:
        return self._state

    @property
    def uptime(self) -> float:
        """Seconds since the process began to serve."""
        return time.monotonic() - self._started

    def advance(self, progress: float) -> None:
        with self._lock:
            if isinstance(self._state, Loading):
                self._state = Loading(max(self._state.progress, min(1.0, progress)))

    def ready(self, state: Ready) -> None:
        with self._lock:
            if isinstance(self._state, Loading):
                self._state = state

    def fail(self, reason: str) -> None:
        with self._lock:
            self._state = Failed(reason)
