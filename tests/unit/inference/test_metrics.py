from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
from prometheus_client.parser import text_string_to_metric_families

from inference.metrics import Metrics

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import ServerProcess


def samples(page: str) -> dict[str, float]:
    """Every sample of a page by its name and labels, as a client of Prometheus reads it."""
    return {
        sample.name + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_requests_are_counted_by_path_and_status_and_unknown_paths_as_one() -> None:
    metrics = Metrics()
    for path, status in (("/predict", 200), ("/predict", 200), ("/x/1", 404), ("/x/2", 404)):
        metrics.answered(path, status, 0.02)
    seen = samples(metrics.page().decode())
    assert seen["inference_http_requests_total path=/predict status=200"] == 2
    assert seen["inference_http_requests_total path=other status=404"] == 2
    assert seen["inference_request_duration_seconds_count"] == 2


def test_a_batch_counts_its_images_and_their_time_in_queue_and_computation() -> None:
    metrics = Metrics()
    metrics.computed([0.01, 0.02, 0.03], [0.001, 0.002, 0.003], 0.5)
    seen = samples(metrics.page().decode())
    assert (seen["inference_images_total"], seen["inference_batch_images_sum"]) == (3, 3)
    assert seen["inference_stage_duration_seconds_sum stage=compute"] == 1.5
    assert abs(seen["inference_stage_duration_seconds_sum stage=queue"] - 0.006) < 1e-9
    assert abs(seen["inference_stage_duration_seconds_sum stage=decode"] - 0.06) < 1e-9


def test_gauges_are_read_when_asked() -> None:
    metrics, depth = Metrics(), [3]
    metrics.watch("queue_depth_images", "Waiting.", lambda: depth[0])
    depth[0] = 5
    assert samples(metrics.page().decode())["inference_queue_depth_images"] == 5


def test_a_server_shows_what_it_did(server: ServerProcess, golden: list[Path]) -> None:
    before = samples(httpx.get(f"{server.url}/metrics").text)
    for path in golden[:3]:
        httpx.post(f"{server.url}/predict", files={"file": path.read_bytes()})
    httpx.post(f"{server.url}/predict", files={"file": b"junk"})
    response = httpx.get(f"{server.url}/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    after = samples(response.text)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    assert grown("inference_images_total") == 3
    assert grown("inference_http_requests_total path=/predict status=200") == 3
    assert grown("inference_errors_total error=unreadable_image") == 1
    assert {grown(f"inference_stage_duration_seconds_count stage={s}") for s in ("decode", "queue", "compute")} == {3}
    assert after["inference_ready"] == 1
    assert after["inference_gpu_memory_bytes"] == 0
    assert after["process_resident_memory_bytes"] > 1e8
