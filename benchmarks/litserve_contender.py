"""``python -m benchmarks.litserve_contender``: LitServe with the server's own model and preprocessing.

``BATCH_SIZE`` and ``BATCH_WAIT_MS`` are its batching; its batches are not padded. One worker process for each lane.
"""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import litserve as ls

from benchmarks.contenders import load
from inference.engine import Engine
from inference.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inference.answer import Answer
    from inference.predictor import Predictor


class Unpadded:
    """The predictor for batches of any size: what a server without the promise of equal bytes computes."""

    def __init__(self, predictor: Predictor) -> None:
        self._by_size = {size: _of_size(predictor, size) for size in range(1, predictor.batch_size + 1)}

    def compute(self, images: Sequence[bytes]) -> list[Answer]:
        predictor = self._by_size[len(images)]
        return predictor.compute([predictor.prepare(image) for image in images])


def _of_size(predictor: Predictor, size: int) -> Predictor:
    """Return the predictor with batches of another size: the same weights, a recording of its own."""
    made, engine = copy.copy(predictor), predictor._engine
    made.batch_size = size
    made._engine = Engine(engine._model, predictor._how, engine.device, replace(engine.shape, batch_size=size))
    return made


class Recognise(ls.LitAPI):
    """The four calls that LitServe makes: decode, batch and predict, take apart, encode."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - the settings say which
        self.unpadded = Unpadded(load(read_settings(os.environ)))

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # LitServe makes a query parameter of a hint
        return request["file"].file.read()

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def predict(self, x: bytes | list[bytes]) -> Any:
        return self.unpadded.compute(x) if isinstance(x, list) else self.unpadded.compute([x])[0]

    def unbatch(self, output: list[Answer]) -> list[Answer]:
        return output

    def encode_response(self, output):  # type: ignore[no-untyped-def]  # nor shall it check answers against a hint
        return output


def main() -> None:
    settings = read_settings(os.environ)
    size = settings.batch_size or 1
    api = Recognise(max_batch_size=size, batch_timeout=(settings.batch_wait or 0.05) if size > 1 else 0.0)
    lanes = settings.lanes or max(1, len(os.sched_getaffinity(0)) // settings.threads)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=lanes)
    server.run(host=settings.host, port=settings.port, log_level="error", generate_client_file=False)


if __name__ == "__main__":
    main()
