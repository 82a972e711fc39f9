"""The server as a client meets it: a real process, real sockets."""

from __future__ import annotations

import io
import json
import re
import socket
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from PIL import Image

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from conftest import ServerProcess

    Serving = Callable[..., AbstractContextManager[ServerProcess]]
    Inference = Callable[..., subprocess.CompletedProcess[bytes]]

SAMPLE = Path(__file__).resolve().parents[3] / "inference" / "sample"
PNG = io.BytesIO()
Image.new("RGB", (64, 64), "red").save(PNG, "PNG")
GOOD = PNG.getvalue()
TOO_LARGE = b"\xff\xd8" + bytes(10 * 1024 * 1024)


def form(*parts: tuple[str, bytes], boundary: str = "b") -> tuple[dict[str, str], bytes]:
    """Headers and body of a hand-made multipart request: (part headers, content) each."""
    body = b"".join(b"--b\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n" for head, content in parts)
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, body + b"--b--\r\n"


FILE = 'Content-Disposition: form-data; name="file"; filename="a.png"'
OTHER = 'Content-Disposition: form-data; name="other"'


def post(server: ServerProcess, data: bytes, **headers: str) -> httpx.Response:
    return httpx.post(f"{server.url}/predict", files={"file": ("x", data)}, headers=headers, timeout=30)


def assert_identified(response: httpx.Response) -> None:
    assert (response.headers["x-served-zone"], response.headers["x-served-host"]) == ("zone-a", "host-a")
    assert re.fullmatch(r"[0-9a-f]{64}", response.headers["x-model-sha256"])
    assert response.headers["x-request-id"]
    assert response.headers["content-type"] == "application/json"


def test_a_body_without_declared_length_is_cut_off_at_the_limit(server: ServerProcess) -> None:
    headers, body = form((FILE, TOO_LARGE))
    chunks = [body[start : start + 65536] for start in range(0, len(body), 65536)]
    response = httpx.post(f"{server.url}/predict", headers=headers, content=iter(chunks), timeout=30)
    assert (response.status_code, response.json()["error"]) == (413, "file_too_large")


def test_unknown_paths_and_methods_are_refused_as_json(server: ServerProcess) -> None:
    for method, path, status in (
        ("GET", "/", 404),
        ("GET", "/predict", 405),
        ("POST", "/health", 405),
        ("PUT", "/x", 404),
    ):
        response = httpx.request(method, server.url + path)
        assert response.status_code == status
        assert response.json()["message"]
        assert_identified(response)


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_a_head_request_gets_the_head_of_the_answer(server: ServerProcess, connection: str) -> None:
    response = httpx.head(f"{server.url}/health", headers={"Connection": connection})
    assert (response.status_code, response.content) == (200, b"")
    assert int(response.headers["content-length"]) > 0
    assert_identified(response)


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(server: ServerProcess) -> None:
    headers, body = form((FILE, GOOD))
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(20)
        client.sendall(_head({**headers, "Expect": "100-continue"}, len(body)))
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"predictions"' in answer


def test_an_answer_leaves_in_one_packet_and_requests_in_a_row_are_answered_in_theirs(server: ServerProcess) -> None:
    headers, body = form((FILE, GOOD))
    head = _head({**headers, "Connection": "keep-alive"}, len(body))
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(20)
        client.sendall(head + body)
        whole = client.recv(65536)
        assert whole.startswith(b"HTTP/1.1 200 OK\r\n")
        assert whole.endswith(b"}")
        ids = [b"first", b"second", b"third"]
        client.sendall(b"".join(head.replace(b"Host: x", b"Host: x\r\nX-Request-Id: " + name) + body for name in ids))
        received = b""
        while received.count(b'"predictions"') < len(ids) or not received.endswith(b"}"):
            received += client.recv(65536)
    assert re.findall(rb"x-request-id: (\w+)", received) == ids


def test_other_small_fields_beside_the_file_do_no_harm(server: ServerProcess) -> None:
    headers, body = form((OTHER, b"1"), (FILE, GOOD), (OTHER, b"2"))
    assert httpx.post(f"{server.url}/predict", headers=headers, content=body).status_code == 200


def test_a_sane_request_id_is_echoed_and_any_other_replaced(server: ServerProcess) -> None:
    assert post(server, GOOD, **{"X-Request-Id": "drill-7:000.a_b"}).headers["x-request-id"] == "drill-7:000.a_b"
    for bad in (b"a b", b"x" * 200, b"<script>", b"\xe9", b""):
        response = httpx.get(f"{server.url}/health", headers={b"X-Request-Id": bad})
        assert re.fullmatch(r"[0-9a-f]{32}", response.headers["x-request-id"])


def test_health_and_info_say_what_is_served(server: ServerProcess) -> None:
    health = httpx.get(f"{server.url}/health")
    assert health.json()["status"] == "healthy"
    assert health.json()["uptime_sec"] > 0
    assert_identified(health)
    info = httpx.get(f"{server.url}/info").json()
    assert (info["service"], info["is_primary"], info["zone"], info["host"]) == ("main", True, "zone-a", "host-a")
    assert info["device"] == "cpu"
    assert info["model"]["sha256"] == health.headers["x-model-sha256"]
    assert info["model"]["classes"] == 36
    assert set(info["versions"]) >= {"python", "torch", "pillow"}
    assert re.fullmatch(r"[0-9a-f]{64}", info["fingerprint"]["code"])
    assert all(isinstance(value, str | int | bool | None) for value in info["fingerprint"].values())


def test_server_and_command_line_answer_the_same_bytes(
    server: ServerProcess, golden: list[Path], inference: Inference
) -> None:
    loaded = httpx.get(f"{server.url}/info").json()["model"]["sha256"]
    printed = inference("predict", *map(str, golden), MODEL_SHA256=loaded).stdout.splitlines()
    answered = [post(server, path.read_bytes()).content for path in golden]
    assert len(printed) == len(golden)
    assert answered == printed
    for body in answered:
        text = json.dumps(json.loads(body), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert text.encode() == body


def test_while_loading_it_answers_503_with_the_fallback(golden: list[Path], serving: Serving) -> None:
    with serving(SERVICE_NAME="backup", NODE_NAME="host-b", DEFAULT_IMAGE_PATH=str(golden[0])) as server:
        server.wait_bound()
        health = httpx.get(f"{server.url}/health", timeout=10)
        first = time.monotonic() - server.started
        assert (health.status_code, health.json()["status"]) == (503, "loading")
        assert 0 <= health.json()["progress"] < 1
        assert (health.headers["x-served-zone"], health.headers["x-served-host"]) == ("backup", "host-b")
        assert "x-model-sha256" not in health.headers
        refused = post(server, GOOD)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json().keys() == {"error", "fallback", "suggestion"}
        assert (refused.json()["error"], refused.json()["fallback"]) == ("service_unavailable", True)
        info = httpx.get(f"{server.url}/info", timeout=10).json()
        assert (info["is_primary"], info["model"]["sha256"]) == (False, None)
        assert first < 3.0, "half a second on an idle machine; this one must be very busy"
        server.wait_ready()
        assert post(server, GOOD).status_code == 200


@pytest.fixture(scope="module")
def narrow(serving: Serving) -> Iterator[ServerProcess]:
    """A ready server that takes one request at a time."""
    with serving(QUEUE_SIZE="1") as server:
        server.wait_ready()
        yield server


@contextmanager
def half_sent(server: ServerProcess) -> Iterator[socket.socket]:
    """A request whose first bytes have arrived and hold the only place of a narrow server."""
    headers, body = form((FILE, GOOD))
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(20)
        client.sendall(_head(headers, len(body)) + body[:40])
        wait_for_status(server, 503)
        yield client


def finish(client: socket.socket) -> bytes:
    """Send the rest of a half-sent request; returns the whole answer."""
    client.sendall(form((FILE, GOOD))[1][40:])
    return b"".join(iter(lambda: client.recv(65536), b""))


def wait_for_status(server: ServerProcess, status: int) -> httpx.Response:
    deadline = time.monotonic() + 20
    while (response := post(server, GOOD)).status_code != status:
        assert time.monotonic() < deadline, response.text
        time.sleep(0.02)
    return response


def test_a_full_server_refuses_at_once_with_retry_after(narrow: ServerProcess) -> None:
    with half_sent(narrow) as slow:
        refused = post(narrow, GOOD)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["fallback"] is True
        assert finish(slow).startswith(b"HTTP/1.1 200")
    assert post(narrow, GOOD).status_code == 200


def test_a_client_that_leaves_gives_its_place_back(narrow: ServerProcess) -> None:
    with half_sent(narrow):
        pass
    wait_for_status(narrow, 200)
    assert not any("traceback" in line for line in narrow.stderr), narrow.stderr


def test_sigterm_finishes_what_is_in_flight_and_accepts_nothing_new(narrow: ServerProcess) -> None:
    with half_sent(narrow) as slow:
        narrow.process.terminate()
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", narrow.port), timeout=1).close()
            except OSError:
                break
            assert time.monotonic() < deadline, "still accepting connections"
            time.sleep(0.02)
        assert narrow.process.poll() is None
        answer = finish(slow)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"predictions"' in answer
    assert narrow.process.wait(15) == 0


def test_sigterm_while_loading_exits_0(serving: Serving) -> None:
    with serving() as server:
        server.wait_bound()
        httpx.get(f"{server.url}/health", timeout=10)
        assert server.stop() == 0


def test_another_hash_refuses_to_start_and_names_both(tmp_path: Path, serving: Serving) -> None:
    wrong = "0" * 64
    with serving(MODEL_SHA256=wrong) as server:
        assert server.process.wait(20) == 3
    said = "".join(server.stderr)
    assert wrong in said
    assert re.search(r"its sha256 is [0-9a-f]{64}", said)
    assert "Traceback" not in said


def test_a_damaged_model_refuses_to_start(tmp_path: Path, serving: Serving) -> None:
    for name in ("labels.txt", "model.json"):
        (tmp_path / name).write_bytes((SAMPLE / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes((SAMPLE / "model.safetensors").read_bytes()[:-5])
    with serving(MODEL_PATH=str(tmp_path)) as server:
        assert server.process.wait(30) == 3
    assert "not a readable safetensors file" in "".join(server.stderr)


def test_a_missing_device_leaves_it_up_and_failed(serving: Serving) -> None:
    with serving(DEVICE="cuda", CUDA_VISIBLE_DEVICES="") as server:
        server.wait_bound()
        deadline = time.monotonic() + 30
        while (health := httpx.get(f"{server.url}/health", timeout=10)).json()["status"] == "loading":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert (health.status_code, health.json()["status"]) == (503, "failed")
        assert "no CUDA device" in health.json()["reason"]
        refused = post(server, GOOD)
        assert (refused.status_code, refused.json()["fallback"]) == (503, True)
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"MODEL_PATH": ""}, "MODEL_PATH is not set"),
        ({"PORT": "x"}, "PORT is 'x'"),
        ({"HOST": "256.1.1.1"}, "Cannot listen"),
    ],
)
def test_bad_settings_end_with_one_sentence_and_exit_2(
    variables: dict[str, str], said: str, inference: Inference
) -> None:
    done = inference("serve", **variables)
    assert done.returncode == 2
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_taken_port_is_said(server: ServerProcess, inference: Inference) -> None:
    done = inference("serve", PORT=str(server.port))
    assert done.returncode == 2
    assert "Address already in use" in done.stderr.decode()


def test_predict_goes_on_after_an_unreadable_image_and_says_which(
    golden: list[Path], tmp_path: Path, inference: Inference
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"junk")
    done = inference("predict", str(tmp_path / "bad.jpg"), str(tmp_path / "none.jpg"), str(golden[0]))
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1
    assert "bad.jpg" in done.stderr.decode()
    assert "none.jpg" in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_predict_without_images_answers_the_default_image(
    server: ServerProcess, golden: list[Path], inference: Inference
) -> None:
    assert inference("predict").returncode == 2
    done = inference("predict", DEFAULT_IMAGE_PATH=str(golden[0]))
    assert done.stdout == post(server, golden[0].read_bytes()).content + b"\n"


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, inference: Inference) -> None:
    (tmp_path / "file").write_text("in the way")
    done = inference("draw", str(tmp_path / "file" / "images"))
    assert done.returncode == 1
    assert str(tmp_path / "file") in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def _head(headers: dict[str, str], length: int) -> bytes:
    fields = {"Host": "x", "Connection": "close", "Content-Length": str(length), **headers}
    return "".join(
        ["POST /predict HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in fields.items()), "\r\n"]
    ).encode()
