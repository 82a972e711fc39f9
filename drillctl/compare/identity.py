"""Whether primary and standby run the same thing, by what their servers publish at /info (pure).

Equal outputs for a set of images prove nothing about the next image. The same weights, code, libraries, device and
settings do: whatever of it differs is listed, with whether it can change an output and why.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

NOT_PUBLISHED = "not published"

Effect = Literal["yes", "rarely", "unknown"]

_MODEL = "model.sha256"
_FINGERPRINT = "fingerprint."
_UNHEARD_OF: tuple[Effect, str] = ("unknown", "what it does, only the server knows")


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same in both zones, or that at least one of them does not tell.

    `changes_outputs` is unknown where a server does not publish the value, or where nobody has said what the key does.
    """

    key: str
    primary: str
    standby: str
    changes_outputs: Effect
    why: str

    @property
    def matters(self) -> bool:
        """Whether it is known to be able to change an output."""
        return self.changes_outputs == "yes"


_EXPECTED = {"service", "is_primary", "zone", "host", "node", "uptime_sec", "started_at", "model.path", "pid", "time"}
"""What must or may differ between two zones."""

_CAN_CHANGE: dict[str, tuple[Effect, str]] = {
    "model.sha256": ("yes", "other weights give other answers"),
    "model.architecture": ("yes", "another network gives other answers"),
    "model.classes": ("yes", "another set of labels"),
    "labels": ("yes", "another set of labels"),
    "card": ("yes", "another network, or images that are resized, cut and normalised in another way"),
    "code": ("yes", "preprocessing and post-processing are code"),
    "torch": ("yes", "another release may pick other kernels, whose sums round differently"),
    "cuda": ("yes", "another release may pick other kernels, whose sums round differently"),
    "cudnn": ("yes", "convolution algorithms are chosen per release"),
    "gpu": ("yes", "kernels differ from one GPU model to another, and with them the order of sums"),
    "device": ("yes", "CPU and GPU sum in different orders"),
    "cpu_capability": ("yes", "wider vector instructions sum in another order"),
    "threads": ("yes", "work that is split otherwise is summed in another order"),
    "dtype": ("yes", "another precision rounds differently"),
    "batch_size": ("yes", "another batch shape may pick other kernels"),
    "memory_format": ("yes", "another memory layout picks other kernels"),
    "cuda_graph": ("rarely", "a recording is used only where it gave the bits of the plain computation"),
    "deterministic": ("yes", "without deterministic algorithms even one host may answer differently twice"),
    "tf32": ("yes", "TF32 keeps 10 bits of the mantissa"),
    "cudnn_benchmark": ("yes", "the algorithm is chosen by timing, so that two hosts may choose differently"),
    "top_k": ("yes", "another number of predictions per answer"),
    "pillow": ("yes", "decoding and resizing are done by it"),
    "numpy": ("rarely", "only where it takes part in the arithmetic"),
    "torchvision": ("yes", "another release may define the model or its preprocessing differently"),
    "python": ("rarely", "the arithmetic is done by libraries, not by it"),
    "driver": ("rarely", "it compiles kernels only where the library brought none for this GPU"),
    "machine": ("yes", "another kind of processor rounds and sums differently"),
    "mkldnn": ("yes", "with and without it, convolutions are computed by different code"),
    "safetensors": ("rarely", "it reads the weights, and their hash is compared"),
    "starlette": ("rarely", "it carries requests and computes nothing"),
    "uvicorn": ("rarely", "it carries requests and computes nothing"),
    "multipart": ("rarely", "it carries requests and computes nothing"),
    "platform": ("rarely", "mathematical functions of the C library may round differently"),
}


def compare_identity(primary_info: Mapping[str, object], standby_info: Mapping[str, object]) -> tuple[Difference, ...]:
    """Compare two documents of /info; return what differs or is not published, what can change outputs first.

    What `versions` and `fingerprint` say alike is listed once. A model hash that neither server publishes is a
    difference too: that two unknown models are the same is not known.
    """
    primary, standby = dict(_leaves(primary_info)), dict(_leaves(standby_info))
    keys = dict.fromkeys((_MODEL, *primary, *standby))
    found: dict[tuple[str, str, str], Difference] = {}
    for key in keys:
        mine, other = primary.get(key), standby.get(key)
        if (mine == other and not (key == _MODEL and mine is None)) or _expected(key):
            continue
        difference = _difference(key, mine, other)
        same = (_last_word(key), difference.primary, difference.standby)
        if same not in found or key.startswith(_FINGERPRINT):
            found[same] = difference
    return tuple(sorted(found.values(), key=_rank))


def worst(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    """Return of several hosts' differences the worst of each key, what can change outputs first."""
    found: dict[str, Difference] = {}
    for difference in sorted(differences, key=_rank):
        found.setdefault(difference.key, difference)
    return tuple(found.values())


def _rank(difference: Difference) -> int:
    order: tuple[Effect, ...] = ("yes", "unknown", "rarely")
    return order.index(difference.changes_outputs)


def digest(info: Mapping[str, object]) -> str:
    """Return a hash over everything that one server publishes at /info, except what may differ from host to host.

    It changes when the model, the code, a library, the device or a setting does, and stays over a restart.
    """
    told = sorted((key, value) for key, value in _leaves(info) if not _expected(key))
    return hashlib.sha256(json.dumps(told, ensure_ascii=True).encode()).hexdigest()


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted keys and values as text; null means that there is none, but of the model that it is not loaded."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif value is None:
        if path != _MODEL:
            yield path, "none"
    elif _last_word(path) == "device":
        yield path, str(value).split(":", maxsplit=1)[0]  # cuda:0 and cuda:1 are places for a card, not kinds of one
    else:
        yield path, str(value)


def _expected(key: str) -> bool:
    return key in _EXPECTED or _last_word(key) in _EXPECTED


def _last_word(key: str) -> str:
    return key.rsplit(".", 1)[-1]


def _difference(key: str, primary: str | None, standby: str | None) -> Difference:
    effect, why = _CAN_CHANGE.get(key) or _CAN_CHANGE.get(_last_word(key)) or _UNHEARD_OF
    if key.startswith(_FINGERPRINT) and effect == "unknown":
        effect, why = "yes", "the server counts it among what decides its answers"
    if primary is None or standby is None:
        silent = "neither zone publishes" if primary is standby else "only one zone publishes"
        effect = "unknown" if effect == "yes" else effect
        why = f"{silent} it; {why}"
    return Difference(key, primary or NOT_PUBLISHED, standby or NOT_PUBLISHED, effect, why)
