"""One bounded queue and its computing threads (lanes): what waits is computed together, up to the fixed batch."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from inference.errors import DeviceError, QueueFullError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from inference.answer import Answer

_IDLE: Final = float("inf")


class Computer(Protocol):
    """What the worker needs of a predictor; ``compute`` is called by several threads if there are several lanes."""

    @property
    def batch_size(self) -> int: ...

    def compute(self, prepared: Sequence[bytes]) -> list[Answer]: ...


class Observer(Protocol):
    """Who wants to know how the work goes."""

    def computed(self, waited: Sequence[float], seconds: float) -> None:
        """Note that a batch took ``seconds``; ``waited`` has the seconds that each of its images had queued."""


@dataclass(frozen=True)
class _Job:
    prepared: bytes
    queued: float = field(default_factory=time.monotonic)
    future: Future[Answer] = field(default_factory=Future)


class BatchWorker:
    """Computes submitted images in the order they came.

    A batch is what queued up while the one before was computed. One that is not full waits for more only while images
    are known to be on their way (``expecting``), and at most ``wait`` seconds: an idle server answers at once, a busy
    one fills its batches.
    """

    def __init__(
        self,
        computer: Computer,
        capacity: int,
        on_device_error: Callable[[DeviceError], None],
        *,
        lanes: int = 1,
        wait: float = 0.0,
        observer: Observer | None = None,
    ) -> None:
        self._computer = computer
        self._capacity = capacity
        self._on_device_error = on_device_error
        self._wait = wait
        self._observer = observer
        self._jobs: deque[_Job] = deque()
        self._expected = 0
        self._closing = False
        self._changed = threading.Condition()
        self._busy_since = [_IDLE] * lanes
        self._lanes = [
            threading.Thread(target=self._work, args=(lane,), name=f"compute-{lane}", daemon=True)
            for lane in range(lanes)
        ]
        for thread in self._lanes:
            thread.start()

    @property
    def depth(self) -> int:
        """Images that wait to be computed."""
        return len(self._jobs)

    @property
    def longest(self) -> float:
        """Seconds that the oldest computation has been running; 0 when none is."""
        return max(0.0, time.monotonic() - min(self._busy_since))

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """Announce an image that is being prepared, for as long as it is."""
        with self._changed:
            self._expected += 1
        try:
            yield
        finally:
            with self._changed:
                self._expected -= 1
                self._changed.notify()

    def submit(self, prepared: bytes) -> Future[Answer]:
        """Queue one prepared image. Cancelling the future before its turn skips it. Raises QueueFullError at once."""
        job = _Job(prepared)
        with self._changed:
            if self._closing or len(self._jobs) >= self._capacity:
                raise QueueFullError("All places in the queue are taken.")
            self._jobs.append(job)
            self._changed.notify()
        return job.future

    def close(self, seconds: float | None = None) -> bool:
        """Finish what is queued, then end the threads; False if that took longer than ``seconds``."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        deadline = None if seconds is None else time.monotonic() + seconds
        for thread in self._lanes:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._lanes)

    def _work(self, lane: int) -> None:
        while jobs := self._next_batch():
            running = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if running:
                self._busy_since[lane] = time.monotonic()
                try:
                    self._compute(running)
                finally:
                    self._busy_since[lane] = _IDLE

    def _next_batch(self) -> list[_Job]:
        """Wait for work; empty only when closing and all is done."""
        size = self._computer.batch_size
        with self._changed:
            while True:
                while not self._jobs:
                    if self._closing:
                        return []
                    self._changed.wait()
                deadline = self._jobs[0].queued + self._wait
                while 0 < len(self._jobs) < size and self._expected and not self._closing:
                    if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                        break
                # While this lane waited for more, another one may have taken all of it.
                if self._jobs:
                    return [self._jobs.popleft() for _ in range(min(size, len(self._jobs)))]

    def _compute(self, jobs: list[_Job]) -> None:
        started = time.monotonic()
        try:
            answers = self._computer.compute([job.prepared for job in jobs])
        except DeviceError as error:
            self._on_device_error(error)
            for job in jobs:
                job.future.set_exception(error)
        except Exception as error:  # noqa: BLE001 - a request that breaks the model must not end the worker
            for job in jobs:
                job.future.set_exception(error)
        else:
            for job, answer in zip(jobs, answers, strict=True):
                job.future.set_result(answer)
            if self._observer:
                self._observer.computed([started - job.queued for job in jobs], time.monotonic() - started)
