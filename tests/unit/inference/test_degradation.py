"""What happens to requests when clients leave, the device fails or hangs, and the time to drain is over."""

from __future__ import annotations

import io
import socket
import time
from typing import TYPE_CHECKING

import httpx
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from conftest import ServerProcess

    Serving = Callable[..., AbstractContextManager[ServerProcess]]

OUT = io.BytesIO()
Image.new("RGB", (64, 64), "red").save(OUT, "PNG")
BODY = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + OUT.getvalue() + b"\r\n--b--\r\n"
REQUEST = (
    f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    f"Content-Length: {len(BODY)}\r\nConnection: close\r\n\r\n"
).encode() + BODY

SLOW = """
import os, time, inference.predictor as predictor
compute = predictor.Predictor.compute
def slow(self, prepared):
    time.sleep(0.5)
    return compute(self, prepared)
predictor.Predictor.compute = slow
"""
FAILING = """
import inference.engine as engine, inference.app as app
original, calls = engine.Engine._logits, []
def failing(self, batch):
    calls.append(1)
    if len(calls) > 40:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\\nnative stack")
    return original(self, batch)
engine.Engine._logits = failing
"""
HANGING = """
import threading, inference.predictor as predictor, inference.app as app
app.COMPUTE_SECONDS, app._CLOSE_SECONDS = 0.4, 0.2
predictor.Predictor.compute = lambda self, prepared: threading.Event().wait()
"""


def post(server: ServerProcess) -> httpx.Response:
    return httpx.post(f"{server.url}/predict", files={"file": OUT.getvalue()}, timeout=30)


def send(server: ServerProcess, request: bytes = REQUEST) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port))
    client.settimeout(20)
    client.sendall(request)
    return client


def read(client: socket.socket) -> bytes:
    with client:
        return b"".join(iter(lambda: client.recv(65536), b""))


def metric(server: ServerProcess, name: str) -> float:
    page = httpx.get(f"{server.url}/metrics").text
    return next((float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(name + " ")), 0.0)


def assert_fallback(response: httpx.Response) -> None:
    assert (response.status_code, response.json()["fallback"]) == (503, True)
    assert int(response.headers["retry-after"]) > 0
    assert b"raceback" not in response.content


def test_an_image_whose_client_left_while_it_waited_is_not_computed(serving: Serving) -> None:
    with serving(SLOW, LANES="1") as server:
        server.wait_ready()
        first = send(server)
        time.sleep(0.2)
        leaving = [send(server) for _ in range(3)]
        last = send(server)
        time.sleep(0.1)
        assert metric(server, "inference_requests_in_flight") == 5
        for client in leaving:
            client.close()
        assert read(first).startswith(b"HTTP/1.1 200 ")
        assert read(last).startswith(b"HTTP/1.1 200 ")
        assert metric(server, "inference_images_total") == 2
        assert metric(server, 'inference_errors_total{error="client_left"}') == 3
        assert metric(server, "inference_requests_in_flight") == 0


def test_a_device_error_answers_503_makes_the_server_unhealthy_and_stays(serving: Serving) -> None:
    with serving(FAILING) as server:
        server.wait_ready()
        answers = [post(server) for _ in range(45)]
        assert answers[0].status_code == 200
        for response in answers[-3:]:
            assert_fallback(response)
        for path, status in (("/health", 503), ("/livez", 503), ("/readyz", 503), ("/metrics", 200)):
            assert httpx.get(server.url + path).status_code == status
        reason = httpx.get(f"{server.url}/health").json()["reason"]
        assert "illegal memory access" in reason
        assert "native stack" not in reason
        assert server.stop() == 0
    assert "Traceback" not in "".join(server.stderr)


def test_a_device_that_hangs_gives_503_and_the_server_still_stops(serving: Serving) -> None:
    with serving(HANGING, LANES="1") as server:
        server.wait_ready()
        started = time.monotonic()
        assert_fallback(post(server))
        assert time.monotonic() - started < 5
        assert "device hangs" in httpx.get(f"{server.url}/health").json()["reason"]
        started = time.monotonic()
        assert_fallback(post(server))
        assert time.monotonic() - started < 1, "the next one is refused at once"
        assert server.stop() == 0


def test_what_is_not_finished_when_the_time_to_drain_is_over_gets_503_and_the_exit_is_clean(serving: Serving) -> None:
    with serving(DRAIN_SECONDS="1") as server:
        server.wait_ready()
        client = send(server, REQUEST[:-20])
        time.sleep(0.2)
        started = time.monotonic()
        assert server.stop() == 0
        assert 0.8 < time.monotonic() - started < 10
        assert read(client).startswith(b"HTTP/1.1 503 ")
    assert "Traceback" not in "".join(server.stderr)


def test_livez_is_200_while_loading_and_readyz_is_not(serving: Serving) -> None:
    with serving() as server:
        server.wait_bound()
        statuses = [httpx.get(server.url + path, timeout=10).status_code for path in ("/livez", "/readyz", "/health")]
        assert statuses == [200, 503, 503]
        server.wait_ready()
        statuses = [httpx.get(server.url + path, timeout=10).status_code for path in ("/livez", "/readyz", "/health")]
        assert statuses == [200, 200, 200]
