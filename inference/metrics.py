"""What ``/metrics`` shows: counters, gauges and histograms in the text format of Prometheus.

Names and units follow its conventions: base units in the name, ``_total`` for counters. Labels take few values, none of
them from a client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Stage = Literal["upload", "decode", "queue", "compute"]

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_IMAGES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_STAGES: Final[tuple[Stage, ...]] = ("upload", "decode", "queue", "compute")
_PATHS: Final = frozenset({"/health", "/livez", "/readyz", "/info", "/metrics", "/openapi.json", "/predict"})


class Metrics:
    """The measurements of one server; each has a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "inference_http_requests", "HTTP requests answered.", ("path", "status"), registry=self._registry
        )
        self._answered: dict[tuple[str, str], Counter] = {}  # the counter of each path and status, found once
        self._duration = Histogram(
            "inference_request_duration_seconds",
            "Time from the head of a /predict request to its answer.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        stage = Histogram(
            "inference_stage_duration_seconds",
            "Time a /predict request spent in one stage: upload, decode, queue, compute (its whole batch).",
            ("stage",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._stages = {name: stage.labels(name) for name in _STAGES}
        self._images = Counter("inference_images", "Images computed.", registry=self._registry)
        self._batch = Histogram(
            "inference_batch_images", "Images in a computed batch.", buckets=_IMAGES, registry=self._registry
        )
        self._errors = Counter(
            "inference_errors", "/predict requests not answered with 200.", ("error",), registry=self._registry
        )

    def watch(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Add a gauge that is read whenever the metrics are asked for."""
        Gauge(f"inference_{name}", meaning, registry=self._registry).set_function(read)

    def stage(self, name: Stage, seconds: float) -> None:
        """One request left a stage."""
        self._stages[name].observe(seconds)

    def computed(self, decoding: Sequence[float], waiting: Sequence[float], seconds: float) -> None:
        """One batch was computed in ``seconds``; its images had taken these to decode, and waited otherwise."""
        self._batch.observe(len(decoding))
        self._images.inc(len(decoding))
        for decoded, waited in zip(decoding, waiting, strict=True):
            self._stages["decode"].observe(decoded)
            self._stages["queue"].observe(waited)
            self._stages["compute"].observe(seconds)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """One request was answered."""
        key = (path if path in _PATHS else "other", str(status))
        counter = self._answered.get(key)
        if counter is None:
            counter = self._answered[key] = self._requests.labels(*key)
        counter.inc()
        if path == "/predict":
            self._duration.observe(seconds)

    def failed(self, error: str) -> None:
        """One /predict request ended with ``error``, a word of this package."""
        self._errors.labels(error).inc()

    def page(self) -> bytes:
        """All of it in the text format."""
        return generate_latest(self._registry)
