from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, ClassVar

import pytest

from inference.batching import BatchWorker
from inference.errors import DeviceError, QueueFullError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from inference.answer import Answer


class Gated:
    """A computer that answers when the test lets it, and remembers its batches."""

    batch_size = 3

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.entered = threading.Semaphore(0)
        self.let = threading.Semaphore(0)
        self.error: Exception | None = None

    def compute(self, prepared: Sequence[bytes]) -> list[Answer]:
        self.batches.append(list(prepared))
        self.entered.release()
        assert self.let.acquire(timeout=10)
        if self.error:
            raise self.error
        return [{"predictions": [{"index": len(item), "label": "", "logit": 0.0, "score": 0.0}]} for item in prepared]


@pytest.fixture
def gated() -> Gated:
    return Gated()


@pytest.fixture
def failures() -> list[DeviceError]:
    return []


@pytest.fixture
def worker(gated: Gated, failures: list[DeviceError]) -> Iterator[BatchWorker]:
    worker = BatchWorker(gated, 4, failures.append)
    yield worker
    gated.let.release(100)
    worker.close()


def test_what_waits_is_computed_together_up_to_the_batch_size(gated: Gated, worker: BatchWorker) -> None:
    first = worker.submit(b"1")
    assert gated.entered.acquire(timeout=10)
    rest = [worker.submit(item) for item in (b"22", b"333", b"4444", b"55555")]
    gated.let.release(3)
    assert [future.result(10)["predictions"][0]["index"] for future in (first, *rest)] == [1, 2, 3, 4, 5]
    assert gated.batches == [[b"1"], [b"22", b"333", b"4444"], [b"55555"]]


def test_a_full_queue_refuses_at_once_and_accepts_again_later(gated: Gated, worker: BatchWorker) -> None:
    accepted = [worker.submit(b"1")]
    assert gated.entered.acquire(timeout=10)
    accepted += [worker.submit(b"2") for _ in range(4)]
    with pytest.raises(QueueFullError):
        worker.submit(b"3")
    gated.let.release(100)
    assert all(future.result(10) for future in accepted)
    assert worker.submit(b"4").result(10)


def test_a_cancelled_image_is_not_computed(gated: Gated, worker: BatchWorker) -> None:
    first = worker.submit(b"1")
    assert gated.entered.acquire(timeout=10)
    gone, kept = worker.submit(b"gone"), worker.submit(b"kept")
    assert gone.cancel()
    gated.let.release(2)
    assert first.result(10)
    assert kept.result(10)
    assert gated.batches == [[b"1"], [b"kept"]]


def test_a_device_error_reaches_the_request_and_the_server(
    gated: Gated, worker: BatchWorker, failures: list[DeviceError]
) -> None:
    gated.error = DeviceError("lost")
    gated.let.release()
    with pytest.raises(DeviceError, match="lost"):
        worker.submit(b"1").result(10)
    assert failures == [gated.error]


def test_any_other_error_stays_with_its_request(gated: Gated, worker: BatchWorker, failures: list[DeviceError]) -> None:
    gated.error = ValueError("odd")
    gated.let.release(2)
    with pytest.raises(ValueError, match="odd"):
        worker.submit(b"1").result(10)
    gated.error = None
    assert worker.submit(b"2").result(10)
    assert failures == []


def test_closing_finishes_what_is_queued(gated: Gated) -> None:
    worker = BatchWorker(gated, 10, lambda _: None)
    futures = [worker.submit(b"1") for _ in range(8)]
    gated.let.release(100)
    worker.close()
    assert all(future.done() for future in futures)


class Slow:
    """A computer whose batches of up to four are remembered; computing takes no time."""

    batch_size = 4

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []

    def compute(self, prepared: Sequence[bytes]) -> list[Answer]:
        self.batches.append(list(prepared))
        return [{"predictions": []} for _ in prepared]


def test_a_batch_waits_for_images_on_their_way_but_not_for_others() -> None:
    computer = Slow()
    worker = BatchWorker(computer, 10, lambda _: None, wait=20)
    worker.submit(b"alone").result(10)
    with worker.expecting(), worker.expecting():
        first = worker.submit(b"first")
        time.sleep(0.05)
        assert not first.done()
        second = worker.submit(b"second")
    for future in (first, second):
        future.result(10)
    worker.close()
    assert computer.batches == [[b"alone"], [b"first", b"second"]]


def test_a_batch_that_is_full_does_not_wait() -> None:
    computer = Slow()
    worker = BatchWorker(computer, 10, lambda _: None, wait=20)
    with worker.expecting():
        futures = [worker.submit(b"x") for _ in range(4)]
        assert [future.result(10) for future in futures]
    worker.close()


def test_waiting_for_a_fuller_batch_ends_at_the_deadline() -> None:
    worker = BatchWorker(Slow(), 10, lambda _: None, wait=0.05)
    with worker.expecting():
        started = time.monotonic()
        assert worker.submit(b"x").result(10)
        assert 0.04 < time.monotonic() - started < 5
    worker.close()


def test_lanes_compute_at_one_time(gated: Gated) -> None:
    worker = BatchWorker(gated, 10, lambda _: None, lanes=2)
    futures = [worker.submit(b"1")]
    assert gated.entered.acquire(timeout=10)
    futures.append(worker.submit(b"2"))
    assert gated.entered.acquire(timeout=10), "the second lane did not begin while the first was computing"
    gated.let.release(2)
    assert [future.result(10) for future in futures]
    worker.close()


def test_a_computation_that_hangs_is_seen_and_not_waited_for_at_the_end(gated: Gated) -> None:
    worker = BatchWorker(gated, 10, lambda _: None)
    assert worker.longest == 0
    worker.submit(b"1")
    assert gated.entered.acquire(timeout=10)
    time.sleep(0.02)
    assert worker.longest >= 0.02
    assert worker.close(0.05) is False
    gated.let.release(1)
    assert worker.close(10) is True
    assert worker.longest == 0


def test_the_observer_hears_of_each_batch(gated: Gated) -> None:
    class Ear:
        heard: ClassVar[list[tuple[int, bool]]] = []

        def computed(self, waited: Sequence[float], seconds: float) -> None:
            self.heard.append((len(waited), seconds >= 0))

    worker = BatchWorker(gated, 10, lambda _: None, observer=Ear())
    gated.let.release(2)
    worker.submit(b"1").result(10)
    worker.close()
    assert Ear.heard == [(1, True)]
