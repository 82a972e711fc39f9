"""A loaded model: images in, answers out. The command line and the server share this one path.

Answers are the same bits at any load because every computation has the same shape: ``batch_size`` rows, those not
needed filled with zeros. A row of a fixed-shape computation does not depend on its neighbours or its place.
"""

from __future__ import annotations

import io
import os
import warnings
from typing import TYPE_CHECKING, Final

import torch
from PIL import Image

from inference.errors import DeviceError
from inference.network import build, torchvision_version
from inference.preprocess import FORMATS, pixels

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from inference.answer import Answer
    from inference.checkpoint import Checkpoint
    from inference.identity import Fact
    from inference.settings import DeviceChoice

DEFAULT_BATCH: Final = {"cpu": 1, "cuda": 16}


class Predictor:
    """A model on its device. Not thread-safe: one thread computes, any number may prepare."""

    def __init__(
        self, checkpoint: Checkpoint, *, device: DeviceChoice, batch_size: int | None, threads: int, top_k: int
    ) -> None:
        """Build the model on its device.

        Raises CheckpointError if the weights do not fit the card, DeviceError if the device is not usable.
        """
        self.description = checkpoint.description
        self.device = _choose(device)
        self.batch_size = batch_size or DEFAULT_BATCH[self.device.type]
        self.top_k = min(top_k, self.description.card.classes)
        self._how = self.description.card.preprocess()
        _make_deterministic(threads)
        model = build(checkpoint)
        try:
            self._model = model.to(self.device)
            self._mean = torch.tensor(self._how.mean, device=self.device).view(1, 3, 1, 1)
            self._std = torch.tensor(self._how.std, device=self.device).view(1, 3, 1, 1)
        except RuntimeError as error:
            raise DeviceError(f"The model does not fit on {self.device}: {_first_line(error)}") from error

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
        side = self._how.crop
        filled = bytearray(b"".join(prepared)).ljust(self.batch_size * side * side * 3, b"\0")
        batch = torch.frombuffer(filled, dtype=torch.uint8).view(self.batch_size, side, side, 3)
        try:
            with torch.inference_mode():
                images = batch.permute(0, 3, 1, 2).contiguous().to(self.device).float().div_(255)
                logits = self._model(images.sub_(self._mean).div_(self._std)).cpu()
        except RuntimeError as error:
            raise DeviceError(f"{self.device} failed while computing: {_first_line(error)}") from error
        if not torch.isfinite(logits[: len(prepared)]).all():
            raise DeviceError(
                f"{self.device} computed values that are not finite: its weights or the device are broken."
            )
        return [self._answer(logits[row]) for row in range(len(prepared))]

    def warm_up(self) -> None:
        """Answer a blank picture in each format, so that no first request pays for what starts lazily.

        Raises DeviceError.
        """
        for name in FORMATS:
            encoded = io.BytesIO()
            Image.new("RGB", (self._how.resize, self._how.resize)).save(encoded, name)
            self.predict_image(encoded.getvalue())

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
            "dtype": "float32",
            "batch_size": self.batch_size,
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "tf32": torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32,
        }

    def _answer(self, logits: torch.Tensor) -> Answer:
        scores = torch.softmax(logits.double(), dim=0)
        # A stable sort keeps equal logits in the order of their index; topk does not promise that.
        order = torch.sort(logits, descending=True, stable=True).indices[: self.top_k].tolist()
        labels = self.description.labels
        return {
            "predictions": [
                {"index": i, "label": labels[i], "logit": logits[i].item(), "score": scores[i].item()} for i in order
            ]
        }


def _choose(device: DeviceChoice) -> torch.device:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a CUDA build without a driver warns; that is an ordinary CPU host
        available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise DeviceError("DEVICE is cuda, but no CUDA device is usable on this host.")
    return torch.device("cuda" if available and device != "cpu" else "cpu")


def _make_deterministic(threads: int) -> None:
    # cuBLAS reads this when CUDA starts, which is later than here.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    # The same switch as use_deterministic_algorithms(True), which first imports the compiler: 3.4 s of every start.
    torch.set_deterministic_debug_mode("error")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
