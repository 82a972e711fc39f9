"""One bounded queue and the threads that work on it: they decode images and compute batches of a fixed size."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from inference.errors import DeviceError, QueueFullError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inference.answer import Answer

_IDLE: Final = float("inf")


class Computer(Protocol):
    """What the worker needs of a predictor; its methods are called by several threads."""

    @property
    def batch_size(self) -> int: ...

    def prepare(self, data: bytes) -> bytes: ...

    def compute(self, prepared: Sequence[bytes]) -> list[Answer]: ...


class Observer(Protocol):
    """Who wants to know how the work goes; called by the threads that do it."""

    def computed(self, decoding: Sequence[float], waiting: Sequence[float], seconds: float) -> None:
        """Note that a batch took ``seconds``, and what each of its images had taken to decode, and waited otherwise."""


@dataclass(eq=False, slots=True)
class _Job:
    data: bytes  # as sent, then as prepared
    future: Future[Answer] = field(default_factory=Future)
    queued: float = field(default_factory=time.monotonic)
    begun: float = 0.0
    ready: float = 0.0


class BatchWorker:
    """Answers submitted images, in about the order they came.

    Every thread does whatever is next: a batch that is full, else an image that is not decoded yet, else a batch that
    is not full. The last waits only while images for it are being decoded, and no batch for longer than ``wait``
    seconds: an idle server answers at once, a busy one fills its batches. The thread that decoded an image computes its
    batch wherever it can: a request on an idle server changes threads once on its way in, and once on its way out.
    """

    def __init__(
        self,
        computer: Computer,
        capacity: int,
        on_device_error: Callable[[DeviceError], None],
        *,
        lanes: int = 1,
        threads: int = 1,
        wait: float = 0.0,
        longest_queued: float = 0.0,
        observer: Observer | None = None,
    ) -> None:
        """Start ``threads`` threads, or ``lanes`` if that is more; at most ``lanes`` compute at one time.

        The queue is full with ``capacity`` images in it, and while one has waited for ``longest_queued`` seconds (0: no
        bound). Else all would wait in the queue of a slow server until their clients give up, and nobody be served.
        What is in the queue by then keeps its place: most of a burst would be answered soon after the bound.
        """
        self._computer = computer
        self._capacity = capacity
        self._on_device_error = on_device_error
        self._lanes = lanes
        self._wait = wait
        self._longest_queued = longest_queued or _IDLE
        self._observer = observer
        self._queue: deque[_Job] = deque()  # not decoded yet
        self._prepared: deque[_Job] = deque()
        self._preparing = 0
        self._computing = 0
        self._closing = False
        self._lock = threading.Lock()
        self._asleep: list[threading.Lock] = []
        self._busy_since = [_IDLE] * max(lanes, threads)
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"worker-{number}", daemon=True)
            for number in range(max(lanes, threads))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def depth(self) -> int:
        """Images that wait to be decoded or computed."""
        return len(self._queue) + len(self._prepared)

    @property
    def longest(self) -> float:
        """Seconds that the oldest computation has been running; 0 when none is."""
        return max(0.0, time.monotonic() - min(self._busy_since))

    @property
    def _queued_for(self) -> float:
        """Seconds that the oldest image has been waiting for its computation; 0 when none is."""
        oldest = self._prepared or self._queue
        return time.monotonic() - oldest[0].queued if oldest else 0.0

    def submit(self, data: bytes, on_done: Callable[[Future[Answer]], None] | None = None) -> Future[Answer]:
        """Queue one encoded image. Cancelling the future before its turn skips it. Raises QueueFullError at once.

        The future raises what ``prepare`` and ``compute`` of the computer raise; ``on_done`` gets it when it is done,
        in the thread that did it.
        """
        job = _Job(data)
        if on_done:
            job.future.add_done_callback(on_done)
        with self._lock:
            if self._closing or self.depth >= self._capacity or self._queued_for > self._longest_queued:
                raise QueueFullError("The queue is full, or an image in it has waited for too long.")
            self._queue.append(job)
            self._wake_one()
        return job.future

    def close(self, seconds: float | None = None) -> bool:
        """Finish what is queued, then end the threads; False if that took longer than ``seconds``."""
        with self._lock:
            self._closing = True
            self._wake_one()
        deadline = None if seconds is None else time.monotonic() + seconds
        for thread in self._threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self, number: int) -> None:
        bell = threading.Lock()
        bell.acquire()
        while True:
            with self._lock:
                task = self._next(bell)
                if self._queue or self._closing or (self._prepared and self._computing < self._lanes):
                    self._wake_one()  # there is more than one thread can do
            if isinstance(task, _Job):
                self._prepare(task)
            elif task:
                self._busy_since[number] = time.monotonic()
                try:
                    self._compute(task)
                finally:
                    self._busy_since[number] = _IDLE
                    with self._lock:
                        self._computing -= 1
            else:
                return

    def _next(self, bell: threading.Lock) -> _Job | list[_Job]:
        """Wait for an image to decode or a batch to compute; an empty batch when closing and nothing is left."""
        size = self._computer.batch_size
        while True:
            left = -1.0  # for ever
            if self._prepared and self._computing < self._lanes:
                full = len(self._prepared) >= size
                left = 0.0 if full else max(0.0, self._prepared[0].ready + self._wait - time.monotonic())
                if left == 0 or not (self._queue or self._preparing):
                    self._computing += 1
                    return [self._prepared.popleft() for _ in range(min(size, len(self._prepared)))]
            if self._queue:
                self._preparing += 1
                return self._queue.popleft()
            if self._closing and not self._prepared:
                return []
            self._sleep(bell, left)

    def _sleep(self, bell: threading.Lock, seconds: float) -> None:
        """Give the lock away until the bell rings or the time is over."""
        self._asleep.append(bell)
        self._lock.release()
        rang = bell.acquire(timeout=seconds)
        self._lock.acquire()
        if not rang:
            if bell in self._asleep:
                self._asleep.remove(bell)
            else:
                bell.acquire()  # it rang just now

    def _wake_one(self) -> None:
        # Whoever fell asleep last: its memory is still in the caches of a core.
        if self._asleep:
            self._asleep.pop().release()

    def _prepare(self, job: _Job) -> None:
        job.begun = time.monotonic()
        failure: Exception | None = None
        gone = job.future.cancelled()
        if not gone:
            try:
                job.data = self._computer.prepare(job.data)
            except Exception as error:  # noqa: BLE001 - an image that breaks a decoder must not end the thread
                failure = error
        job.ready = time.monotonic()
        with self._lock:
            self._preparing -= 1
            if not gone and failure is None:
                self._prepared.append(job)
        if failure is not None and job.future.set_running_or_notify_cancel():
            job.future.set_exception(failure)

    def _compute(self, jobs: list[_Job]) -> None:
        jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
        if not jobs:
            return
        started = time.monotonic()
        try:
            answers = self._computer.compute([job.data for job in jobs])
        except DeviceError as error:
            self._on_device_error(error)
            for job in jobs:
                job.future.set_exception(error)
        except Exception as error:  # noqa: BLE001 - a request that breaks the model must not end the thread
            for job in jobs:
                job.future.set_exception(error)
        else:
            seconds = time.monotonic() - started
            for job, answer in zip(jobs, answers, strict=True):
                job.future.set_result(answer)
            # While those who wait for the answers wake up.
            if self._observer:
                decoding = [job.ready - job.begun for job in jobs]
                waiting = [job.begun - job.queued + started - job.ready for job in jobs]
                self._observer.computed(decoding, waiting, seconds)
