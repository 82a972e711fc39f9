from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ClassVar

import pytest

from inference.batching import BatchWorker
from inference.errors import DeviceError, ImageError, QueueFullError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from inference.answer import Answer


class Gated:
    """A computer that answers when the test lets it, and remembers its batches. Preparing doubles the bytes."""

    batch_size = 3

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.entered = threading.Semaphore(0)
        self.let = threading.Semaphore(0)
        self.error: Exception | None = None
        self.decoded = 0

    def prepare(self, data: bytes) -> bytes:
        self.decoded += 1
        if data == b"junk":
            raise ImageError(400, "unreadable_image", "junk")
        return data * 2

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
    worker = BatchWorker(gated, 4, failures.append, wait=20)
    yield worker
    gated.let.release(100)
    worker.close()


def test_what_waits_is_computed_together_up_to_the_batch_size(gated: Gated, worker: BatchWorker) -> None:
    first = worker.submit(b"1")
    assert gated.entered.acquire(timeout=10)
    rest = [worker.submit(item) for item in (b"22", b"333", b"4444", b"55555")]
    gated.let.release(3)
    assert [future.result(10)["predictions"][0]["index"] for future in (first, *rest)] == [2, 4, 6, 8, 10]
    assert gated.batches == [[b"11"], [b"2222", b"333333", b"44444444"], [b"5555555555"]]


def test_a_full_queue_refuses_at_once_and_accepts_again_later(gated: Gated, worker: BatchWorker) -> None:
    accepted = [worker.submit(b"1")]
    assert gated.entered.acquire(timeout=10)
    accepted += [worker.submit(b"2") for _ in range(4)]
    with pytest.raises(QueueFullError):
        worker.submit(b"3")
    gated.let.release(100)
    assert all(future.result(10) for future in accepted)
    assert worker.submit(b"4").result(10)


@pytest.mark.parametrize("bound", [0.0, 0.05])
def test_a_queue_in_which_somebody_waited_too_long_is_full(gated: Gated, bound: float) -> None:
    worker = BatchWorker(gated, 10, lambda _: None, wait=20, longest_queued=bound)
    first = worker.submit(b"1")
    assert gated.entered.acquire(timeout=10)
    waiting = worker.submit(b"2")
    time.sleep(0.1)
    if bound:
        with pytest.raises(QueueFullError):
            worker.submit(b"3")
    else:
        assert worker.submit(b"3")
    gated.let.release(100)
    assert first.result(10)
    assert waiting.result(10), "what was accepted keeps its place"
    assert worker.submit(b"4").result(10), "nobody waits any more"
    worker.close()


def test_a_cancelled_image_is_not_computed(gated: Gated, worker: BatchWorker) -> None:
    first = worker.submit(b"1")
    assert gated.entered.acquire(timeout=10)
    gone, kept = worker.submit(b"gone"), worker.submit(b"kept")
    assert gone.cancel()
    gated.let.release(2)
    assert first.result(10)
    assert kept.result(10)
    assert gated.batches == [[b"11"], [b"keptkept"]]


def test_an_image_that_is_cancelled_after_it_was_decoded_is_not_computed(gated: Gated) -> None:
    worker = BatchWorker(gated, 4, lambda _: None, lanes=1, threads=2, wait=20)
    first = worker.submit(b"1")
    assert gated.entered.acquire(timeout=10)
    gone, kept = worker.submit(b"gone"), worker.submit(b"kept")
    while gated.decoded < 3:
        time.sleep(0.001)
    assert gone.cancel()
    gated.let.release(2)
    assert first.result(10)
    assert kept.result(10)
    worker.close()
    assert gated.batches == [[b"11"], [b"keptkept"]]


def test_an_image_that_cannot_be_decoded_fails_alone(gated: Gated, worker: BatchWorker) -> None:
    first = worker.submit(b"1")
    assert gated.entered.acquire(timeout=10)
    good, bad, last = worker.submit(b"2"), worker.submit(b"junk"), worker.submit(b"3")
    gated.let.release(2)
    assert all(future.result(10) for future in (first, good, last))
    with pytest.raises(ImageError, match="junk"):
        bad.result(10)
    assert gated.batches == [[b"11"], [b"22", b"33"]]


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
    worker = BatchWorker(gated, 10, lambda _: None, lanes=2, threads=3, wait=20)
    futures = [worker.submit(b"1") for _ in range(8)]
    gated.let.release(100)
    assert worker.close(10)
    assert all(future.done() for future in futures)
    with pytest.raises(QueueFullError):
        worker.submit(b"1")


@pytest.mark.parametrize(("lanes", "threads"), [(1, 1), (1, 3), (2, 2), (3, 5)])
def test_every_image_is_answered_once_however_many_threads_there_are(lanes: int, threads: int) -> None:
    """Submitted by several threads at one time, with pauses, so that threads fall asleep and wake all the time."""
    computer = Slow()
    worker = BatchWorker(computer, 1000, lambda _: None, lanes=lanes, threads=threads, wait=0.001)

    def client(number: int) -> list[Future[Answer]]:
        futures = []
        for turn in range(50):
            futures.append(worker.submit(b"%d-%d" % (number, turn)))
            if turn % 7 == number:
                futures[-1].result(10)
        return futures

    with ThreadPoolExecutor(4) as clients:
        futures = [future for ofs in clients.map(client, range(4)) for future in ofs]
    assert all(future.result(10) for future in futures)
    assert worker.close(10)
    computed = [item for batch in computer.batches for item in batch]
    assert sorted(computed) == sorted(b"%d-%d" % (number, turn) for number in range(4) for turn in range(50))
    assert max(map(len, computer.batches)) <= computer.batch_size


class Slow:
    """A computer whose batches of up to four are remembered; only images of b"slow…" wait, to be decoded."""

    batch_size = 4

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.let = threading.Semaphore(0)

    def prepare(self, data: bytes) -> bytes:
        if data.startswith(b"slow"):
            assert self.let.acquire(timeout=10)
        return data

    def compute(self, prepared: Sequence[bytes]) -> list[Answer]:
        self.batches.append(list(prepared))
        return [{"predictions": [{"index": 0, "label": "", "logit": 0.0, "score": 0.0}]} for _ in prepared]


def test_a_batch_waits_for_images_on_their_way_but_not_for_others() -> None:
    computer = Slow()
    worker = BatchWorker(computer, 10, lambda _: None, threads=2, wait=20)
    worker.submit(b"alone").result(10)
    slow = worker.submit(b"slow")
    time.sleep(0.05)
    first = worker.submit(b"first")
    time.sleep(0.05)
    assert not first.done()
    computer.let.release()
    for future in (first, slow):
        future.result(10)
    worker.close()
    assert computer.batches == [[b"alone"], [b"first", b"slow"]]


def test_a_batch_that_is_full_does_not_wait() -> None:
    computer = Slow()
    worker = BatchWorker(computer, 10, lambda _: None, threads=2, wait=20)
    slow = worker.submit(b"slow")
    futures = [worker.submit(b"x") for _ in range(4)]
    assert all(future.result(10) for future in futures)
    assert not slow.done()
    computer.let.release()
    assert slow.result(10)
    worker.close()


@pytest.mark.parametrize("threads", [2, 3])
def test_waiting_for_a_fuller_batch_ends_at_the_deadline(threads: int) -> None:
    """Also where the thread that waits is called away, to decode another image."""
    computer = Slow()
    worker = BatchWorker(computer, 10, lambda _: None, threads=threads, wait=0.05)
    slow = [worker.submit(b"slow")]
    started = time.monotonic()
    first = worker.submit(b"x")
    if threads > 2:
        time.sleep(0.01)
        slow.append(worker.submit(b"slow too"))
    assert first.result(10)
    assert 0.04 < time.monotonic() - started < 5
    assert not any(future.done() for future in slow)
    computer.let.release(2)
    assert all(future.result(10) for future in slow)
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
        heard: ClassVar[list[tuple[int, int, bool]]] = []

        def computed(self, decoding: Sequence[float], waiting: Sequence[float], seconds: float) -> None:
            self.heard.append((len(decoding), len(waiting), min(*decoding, *waiting, seconds) >= 0))

    worker = BatchWorker(gated, 10, lambda _: None, observer=Ear(), wait=20)
    first = worker.submit(b"1")
    assert gated.entered.acquire(timeout=10)
    futures = [first, *(worker.submit(item) for item in (b"2", b"junk", b"3"))]
    gated.let.release(2)
    worker.close()
    assert all(future.done() for future in futures)
    assert Ear.heard == [(1, 1, True), (2, 2, True)]
