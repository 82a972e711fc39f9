"""One bounded queue and one computing thread: whatever waits is computed together, up to the fixed batch."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, Protocol

from inference.errors import DeviceError, QueueFullError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inference.answer import Answer


class Computer(Protocol):
    """What the worker needs of a predictor."""

    @property
    def batch_size(self) -> int: ...

    def compute(self, prepared: Sequence[bytes]) -> list[Answer]: ...


_Job = tuple[bytes, "Future[Answer]"]
_STOP: Final = None


class BatchWorker:
    """Computes submitted images in the order they came.

    Nothing waits for a fuller batch: a batch is what queued up while the one before was computed, so that an idle
    server answers at once and a busy one fills its batches.
    """

    def __init__(self, computer: Computer, capacity: int, on_device_error: Callable[[DeviceError], None]) -> None:
        self._computer = computer
        self._on_device_error = on_device_error
        self._queue: queue.Queue[_Job | None] = queue.Queue(maxsize=capacity)
        self._thread = threading.Thread(target=self._work, name="compute", daemon=True)
        self._thread.start()

    def submit(self, prepared: bytes) -> Future[Answer]:
        """Queue one prepared image. Cancelling the future before its turn skips it. Raises QueueFullError at once."""
        future: Future[Answer] = Future()
        try:
            self._queue.put_nowait((prepared, future))
        except queue.Full:
            raise QueueFullError("All places in the queue are taken.") from None
        return future

    def close(self) -> None:
        """Finish what is queued, then end the thread."""
        self._queue.put(_STOP)
        self._thread.join()

    def _work(self) -> None:
        stopping = False
        while not stopping:
            first = self._queue.get()
            if first is _STOP:
                return
            jobs = [first]
            while len(jobs) < self._computer.batch_size:
                try:
                    job = self._queue.get_nowait()
                except queue.Empty:
                    break
                if job is _STOP:
                    stopping = True
                    break
                jobs.append(job)
            self._compute([job for job in jobs if job[1].set_running_or_notify_cancel()])

    def _compute(self, jobs: list[_Job]) -> None:
        if not jobs:
            return
        try:
            answers = self._computer.compute([prepared for prepared, _ in jobs])
        except DeviceError as error:
            self._on_device_error(error)
            for _, future in jobs:
                future.set_exception(error)
        except Exception as error:  # noqa: BLE001 - a request that breaks the model must not end the worker
            for _, future in jobs:
                future.set_exception(error)
        else:
            for (_, future), answer in zip(jobs, answers, strict=True):
                future.set_result(answer)
