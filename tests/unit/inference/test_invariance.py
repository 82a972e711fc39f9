"""The promise that drills rest on: whatever the load, an image's answer is the same bytes."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from conftest import ServerProcess

    Serving = Callable[..., AbstractContextManager[ServerProcess]]

# Concurrency → requests. A batch costs the same however full it is: so few are sent one by one, and most together.
LOAD = ((1, 150), (64, 1800), (3, 300), (17, 1300), (2, 200), (40, 1500), (8, 900), (5, 450), (32, 1400), (64, 2000))
BATCH = 8


def requests_for(images: list[bytes]) -> list[bytes]:
    """Complete HTTP requests, so that the client costs next to nothing."""
    made = []
    for image in images:
        body = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + image + b"\r\n--b--\r\n"
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        made.append(head.encode() + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + body)
    return made


async def ask_all(port: int, requests: list[bytes]) -> dict[int, dict[bytes, int]]:
    """Post the images in turn under shifting concurrency; how often each saw which body."""
    seen: dict[int, dict[bytes, int]] = {number: {} for number in range(len(requests))}

    async def client(numbers: Iterator[int]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for turn in numbers:
            number = turn % len(requests)
            writer.write(requests[number])
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            seen[number][body] = seen[number].get(body, 0) + 1
        writer.close()

    for concurrency, count in LOAD:
        turns = iter(range(count))
        await asyncio.gather(*(client(turns) for _ in range(concurrency)))
    return seen


def test_ten_thousand_answers_under_shifting_load_are_the_same_bytes_for_each_image(
    golden: list[Path], serving: Serving
) -> None:
    """Batches of eight rows, so that slot, neighbours and fill change all the time; metrics prove that they did."""
    images = [path.read_bytes() for path in golden if re.search(r"-(64|80|96|100|120|128)x", path.name)]
    with serving(BATCH_SIZE=str(BATCH), QUEUE_SIZE="100", LOG_LEVEL="warning") as server:
        server.wait_ready()
        seen = asyncio.run(ask_all(server.port, requests_for(images)))
        metrics = httpx.get(f"{server.url}/metrics").text
    assert sum(count for bodies in seen.values() for count in bodies.values()) == 10_000
    assert {len(bodies) for bodies in seen.values()} == {1}
    assert len({body for bodies in seen.values() for body in bodies}) == len(images)
    fills = [line for line in metrics.splitlines() if line.startswith("inference_batch_images_bucket")]
    counts = [int(float(line.rpartition(" ")[2])) for line in fills]
    assert counts[0] > 0, "no batch of one image"
    assert counts[-1] > counts[2] > counts[1], "no batches of between 3 and 8 images"


SABOTAGE = """
import torch, inference.engine as engine
run = engine.Engine.run
def spoilt(self, pixels):
    logits = run(self, pixels).clone()
    {spoil}
    return logits
engine.Engine.run = spoilt
"""


def test_a_server_whose_last_slot_is_off_by_one_bit_does_not_become_ready(serving: Serving) -> None:
    spoil = "logits[-1].view(torch.int32)[0] ^= 1"
    with serving(SABOTAGE.format(spoil=spoil), BATCH_SIZE="4") as server:
        server.wait_bound()
        deadline = time.monotonic() + 60
        while (health := httpx.get(f"{server.url}/health", timeout=10)).json()["status"] == "loading":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert (health.status_code, health.json()["status"]) == (503, "failed")
        assert "answers would depend on load" in health.json()["reason"]
        refused = httpx.post(f"{server.url}/predict", files={"file": b"x"})
        assert (refused.status_code, json.loads(refused.content)["fallback"]) == (503, True)
        assert server.stop() == 0
