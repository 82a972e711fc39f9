"""Limits that depend on time and on how a client sends; the ordinary bad requests are in test_server.py."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from starlette.requests import ClientDisconnect, Request

from inference import upload
from inference.errors import UploadError

if TYPE_CHECKING:
    from collections.abc import Iterable

FORM = {"content-type": "multipart/form-data; boundary=b"}
BODY = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc\r\n--b--\r\n'


class Client:
    """Sends chunks one by one, with a pause before each; counts what was taken from it."""

    def __init__(self, chunks: Iterable[bytes], pause: float = 0.0, leaves: bool = False) -> None:
        self._chunks = iter(chunks)
        self._pause = pause
        self._leaves = leaves
        self.taken = 0

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(self._pause)
        chunk = next(self._chunks, None)
        if chunk is None:
            return {"type": "http.disconnect"} if self._leaves else {"type": "http.request", "body": b""}
        self.taken += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": True}

    def request(self, headers: dict[str, str]) -> Request:
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        return Request({"type": "http", "method": "POST", "headers": raw}, self.receive)


def read(client: Client, **headers: str) -> bytes:
    return asyncio.run(
        upload.read_upload(client.request({**FORM, **{k.replace("_", "-"): v for k, v in headers.items()}}))
    )


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_the_file_is_the_same_however_its_bytes_arrive(size: int) -> None:
    assert read(Client(BODY[start : start + size] for start in range(0, len(BODY), size))) == b"abc"


def test_a_slow_upload_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "MAX_SECONDS", 0.05)
    with pytest.raises(UploadError) as raised:
        read(Client((BODY[n : n + 1] for n in range(len(BODY))), pause=0.01))
    assert raised.value.status == 408


def test_a_client_that_leaves_is_not_taken_for_a_bad_one() -> None:
    with pytest.raises(ClientDisconnect):
        read(Client([BODY[:30]], leaves=True))


def test_nothing_is_read_of_an_upload_that_declares_too_much() -> None:
    client = Client([b"x"] * 100)
    with pytest.raises(UploadError) as raised:
        read(client, content_length=str(10**12))
    assert (raised.value.status, client.taken) == (413, 0)


def test_an_endless_upload_is_refused_at_the_limit() -> None:
    chunk = bytes(1 << 20)
    client = Client(iter(lambda: chunk, b""))
    with pytest.raises(UploadError) as raised:
        read(client)
    assert raised.value.status in {400, 413}
    assert client.taken <= upload.MAX_BODY + len(chunk)
