"""A loaded model: images in, answers out. The command line and the server share this one path.

Answers are the same bits at any load because every computation has the same shape: ``batch_size`` rows, those not
needed filled with zeros. A row of a fixed-shape computation does not depend on its neighbours or its place.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import torch

from inference.engine import DTYPES, Engine, Shape, choose_device, make_deterministic
from inference.errors import DeviceError
from inference.network import build, torchvision_version
from inference.preprocess import pixels

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from inference.answer import Answer
    from inference.checkpoint import Checkpoint
    from inference.identity import Fact
    from inference.settings import DeviceChoice, Settings

DEFAULT_BATCH: Final = {"cpu": 1, "cuda": 16}
# Seconds. On the CPU, decoding and computing share the cores: what a batch that is not full wastes is dear there.
_DEFAULT_WAIT: Final = {"cpu": 0.05, "cuda": 0.005}


class Predictor:
    """A model on its device. Any number of threads may prepare; ``lanes`` of them may compute at one time."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: DeviceChoice,
        batch_size: int | None,
        threads: int,
        top_k: int,
        form: Shape | None = None,
    ) -> None:
        """Build the model on its device; ``form`` gives precision and layout (its ``batch_size`` is not looked at).

        Raises CheckpointError if the weights do not fit the card, DeviceError if the device is not usable.
        """
        self.description = checkpoint.description
        self.device = choose_device(device)
        self.batch_size = batch_size or DEFAULT_BATCH[self.device.type]
        self.top_k = min(top_k, self.description.card.classes)
        self._how = self.description.card.preprocess()
        self._row = self._how.crop**2 * 3  # bytes of a prepared image
        make_deterministic(threads)
        shape = replace(form or Shape(1), batch_size=self.batch_size)
        self._engine = Engine(build(checkpoint), self._how, self.device, shape)

    @classmethod
    def from_settings(cls, checkpoint: Checkpoint, settings: Settings) -> Predictor:
        """Build the predictor that the environment asks for; raises as the constructor does."""
        return cls(
            checkpoint,
            device=settings.device,
            batch_size=settings.batch_size,
            threads=settings.threads,
            top_k=settings.top_k,
            form=Shape(1, settings.precision, settings.channels_last, settings.cuda_graph),
        )

    @property
    def default_lanes(self) -> int:
        """How many computations fit on the device at one time: on the CPU as many as this process has cores for."""
        return max(1, len(os.sched_getaffinity(0)) // torch.get_num_threads()) if self.device.type == "cpu" else 1

    def threads(self, lanes: int) -> int:
        """How many threads keep the device and this process's cores busy, decoding and computing."""
        cores = len(os.sched_getaffinity(0))
        # On CUDA a thread that computes waits for the device most of the time.
        return max(cores, lanes) if self.device.type == "cpu" else cores + lanes

    @property
    def default_wait(self) -> float:
        """How many seconds a batch that is not full should wait for images that are being decoded."""
        return _DEFAULT_WAIT[self.device.type]

    def predict_image(self, source: Path | bytes) -> Answer:
        """Answer one image, given as encoded bytes or as the path of a file.

        Raises ImageError for anything that is not an acceptable image, OSError if the file cannot be read.
        """
        data = source if isinstance(source, bytes) else source.read_bytes()
        return self.compute([self.prepare(data)])[0]

    def prepare(self, data: bytes) -> bytes:
        """Decode and preprocess one encoded image on the calling thread. Raises ImageError."""
        return pixels(data, self._how)

    def compute(self, prepared: Sequence[bytes]) -> list[Answer]:
        """Answers for 1 to ``batch_size`` prepared images, in their order. Raises DeviceError."""
        logits = self.logits(prepared)
        if not torch.isfinite(logits).all():
            raise DeviceError(
                f"{self.device} computed values that are not finite: its weights or the device are broken."
            )
        # A stable sort keeps equal logits in the order of their index; topk does not promise that.
        order = torch.sort(logits, dim=1, descending=True, stable=True).indices[:, : self.top_k]
        scores = torch.softmax(logits.double(), dim=1).gather(1, order)
        rows = zip(order.tolist(), logits.gather(1, order).tolist(), scores.tolist(), strict=True)
        return [self._answer(*row) for row in rows]

    def logits(self, prepared: Sequence[bytes]) -> torch.Tensor:
        """One row of float32 logits for each of 1 to ``batch_size`` prepared images. Raises DeviceError."""
        pixels = bytearray(self.batch_size * self._row)
        for slot, image in enumerate(prepared):
            pixels[slot * self._row : (slot + 1) * self._row] = image
        return self._engine.run(pixels)[: len(prepared)]

    def facts(self) -> dict[str, Fact]:
        """Return the part of the environment fingerprint that PyTorch knows."""
        cuda = self.device.type == "cuda"
        return {
            **self.description.facts(),
            "torch": torch.__version__,
            "torchvision": torchvision_version(self.description.card),
            "device": self.device.type,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version() if cuda else None,  # type: ignore[no-untyped-call]
            "gpu": torch.cuda.get_device_name(self.device) if cuda else None,
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "mkldnn": torch.backends.mkldnn.is_available(),  # type: ignore[no-untyped-call]
            "threads": torch.get_num_threads(),
            "dtype": str(DTYPES[self._engine.shape.precision]).removeprefix("torch."),
            "memory_format": "channels_last" if self._engine.shape.channels_last else "contiguous",
            "cuda_graph": cuda and self._engine.recorded,
            "batch_size": self.batch_size,
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "tf32": torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32,
        }

    def gpu_memory(self) -> int:
        """Bytes of GPU memory that PyTorch holds; 0 on the CPU."""
        return torch.cuda.memory_reserved(self.device) if self.device.type == "cuda" else 0

    def _answer(self, order: list[int], logits: list[float], scores: list[float]) -> Answer:
        labels = self.description.labels
        return {
            "predictions": [
                {"index": index, "label": labels[index], "logit": logit, "score": score}
                for index, logit, score in zip(order, logits, scores, strict=True)
            ]
        }
