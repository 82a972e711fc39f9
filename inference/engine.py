"""Runs a model on its device in one fixed shape: 8-bit pixels in, float32 logits out.

The whole computation is recorded once and replayed: on CUDA as a CUDA graph, one launch instead of hundreds; on the
CPU, for small models, as a TorchScript trace, which runs without the interpreter: no time between the operations, and
other threads can use Python meanwhile. A replay must give the bits of the plain computation, or it is not used.
"""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import torch

from inference.errors import DeviceError
from inference.log import event

if TYPE_CHECKING:
    from torch import Tensor, nn

    from inference.preprocess import Preprocessing
    from inference.settings import DeviceChoice, Precision

DTYPES: Final[dict[Precision, torch.dtype]] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
_WARM_UPS: Final = 3  # runs before a recording, or of one: what runs them allocates and chooses in the first ones
# Of weights. What a trace saves is the same for each operation; beyond this size it is lost in what they compute, while
# tracing would cost a start as much as several computations.
_TRACED_WEIGHTS: Final = 16_000_000


@dataclass(frozen=True)
class Shape:
    """The fixed shape and form of every computation; each entry can change the last bits of a result."""

    batch_size: int
    precision: Precision = "fp32"
    channels_last: bool = False
    cuda_graph: bool = True


class Recording(Protocol):
    """A computation that was recorded once."""

    def replay(self, batch: Tensor) -> Tensor:
        """Logits of a batch of the recorded shape; the next replay may overwrite them."""


class Engine:
    """A model on its device, computing ``shape.batch_size`` images at a time.

    On the CPU any number of threads may run it. On CUDA only one may: its buffers are fixed.
    """

    def __init__(self, model: nn.Module, how: Preprocessing, device: torch.device, shape: Shape) -> None:
        """Move the model to the device. Raises DeviceError if it does not fit or the device fails."""
        self.device = device
        self.shape = shape
        self.side = how.crop
        self._dtype = DTYPES[shape.precision]
        self._format = torch.channels_last if shape.channels_last else torch.contiguous_format
        self._recording: Recording | None = None
        try:
            self._model = model.to(device, self._dtype).to(memory_format=self._format)
            self._mean = torch.tensor(how.mean, device=device).view(1, 3, 1, 1)
            self._std = torch.tensor(how.std, device=device).view(1, 3, 1, 1)
        except (RuntimeError, NotImplementedError) as error:
            raise DeviceError(f"The model does not fit on {device}: {first_line(error)}") from error
        weights = sum(tensor.numel() for tensor in self._model.parameters())
        if shape.cuda_graph if device.type == "cuda" else weights <= _TRACED_WEIGHTS:
            self._recording = self._record()

    @property
    def recorded(self) -> bool:
        """Whether computations are replays of a recording."""
        return self._recording is not None

    def run(self, pixels: bytearray) -> Tensor:
        """Logits (batch_size, classes) on the CPU, for ``batch_size`` images of side × side × 3 bytes, row by row.

        Raises DeviceError.
        """
        side = self.side
        batch = torch.frombuffer(pixels, dtype=torch.uint8).view(self.shape.batch_size, side, side, 3)
        try:
            with torch.inference_mode():
                return self._logits(batch).cpu()
        except (RuntimeError, NotImplementedError) as error:
            raise DeviceError(f"{self.device} failed while computing: {first_line(error)}") from error

    def _logits(self, batch: Tensor) -> Tensor:
        return self._recording.replay(batch) if self._recording else self._compute(batch.to(self.device))

    def _compute(self, batch: Tensor) -> Tensor:
        images = batch.permute(0, 3, 1, 2).contiguous().float().div_(255).sub_(self._mean).div_(self._std)
        logits: Tensor = self._model(images.to(self._dtype).contiguous(memory_format=self._format))
        return logits.float()

    def _record(self) -> Recording | None:
        side = self.side
        blank = torch.arange(self.shape.batch_size * side * side * 3, device=self.device).remainder(251).byte()
        blank = blank.view(self.shape.batch_size, side, side, 3)
        try:
            with torch.inference_mode():
                plain = self._compute(blank)
                recording = (_Graph if self.device.type == "cuda" else _Trace)(self, blank)
                if torch.equal(recording.replay(blank).view(torch.int32), plain.view(torch.int32)):
                    return recording
            reason = "its results differ from the plain computation"
        except (RuntimeError, AttributeError) as error:  # AttributeError: a PyTorch that has no TorchScript any more
            reason = first_line(error)
        event(logging.WARNING, "no recording", reason=reason)
        return None


class _Trace:
    """A TorchScript trace of one computation; any number of threads may replay it."""

    def __init__(self, engine: Engine, like: Tensor) -> None:
        with warnings.catch_warnings():
            # That it is deprecated, in favour of what needs a compiler at every start; and what networks do with
            # shapes, which are fixed here.
            warnings.simplefilter("ignore")
            self._run = torch.jit.trace(engine._compute, (like,), check_trace=False)  # type: ignore[no-untyped-call]
        for _ in range(_WARM_UPS - 1):
            self._run(like)

    def replay(self, batch: Tensor) -> Tensor:
        logits: Tensor = self._run(batch)
        return logits


class _Graph:
    """A CUDA graph of one computation with the buffers that it reads and writes."""

    def __init__(self, engine: Engine, like: Tensor) -> None:
        self._input = like.clone()
        self._staging = torch.empty(like.shape, dtype=torch.uint8, pin_memory=True)
        beside = torch.cuda.Stream(engine.device)  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream(engine.device))
        with torch.cuda.stream(beside):
            for _ in range(_WARM_UPS):
                engine._compute(self._input)
        torch.cuda.current_stream(engine.device).wait_stream(beside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._output = engine._compute(self._input)

    def replay(self, batch: Tensor) -> Tensor:
        """Logits on the device; overwritten by the next replay."""
        if batch.is_cuda:
            self._input.copy_(batch)
        else:
            self._staging.copy_(batch)
            self._input.copy_(self._staging, non_blocking=True)
        self._graph.replay()
        return self._output


def choose_device(choice: DeviceChoice) -> torch.device:
    """Return the device to compute on. Raises DeviceError if CUDA is insisted on and not there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a CUDA build without a driver warns; that is an ordinary CPU host
        available = torch.cuda.is_available()
    if choice == "cuda" and not available:
        raise DeviceError("DEVICE is cuda, but no CUDA device is usable on this host.")
    return torch.device("cuda" if available and choice != "cpu" else "cpu")


def make_deterministic(threads: int) -> None:
    """Fix what can change the bits of a result, before the first computation and before CUDA starts."""
    # cuBLAS reads this when CUDA starts, which is later than here.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    # The same switch as use_deterministic_algorithms(True), which first imports the compiler: 3.4 s of every start.
    torch.set_deterministic_debug_mode("error")
    # That would also fill all new memory, in case an operation reads what it did not write; none of ours does.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def first_line(error: BaseException) -> str:
    """Return the first line of an error of PyTorch's, which goes on with a native stack."""
    return str(error).partition("\n")[0] or type(error).__name__
