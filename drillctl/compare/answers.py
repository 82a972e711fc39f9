"""Asking a server each image of a set once, as a client does."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import requests

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

AT_ONCE = 4
"""Requests in flight: enough to be quick, few enough to be no load."""


@dataclass(frozen=True)
class Answer:
    """What one image was answered with. `status` is None and `error` says why if there was no whole answer.

    `zone` and `host` are what the answer's headers say, None without them; `seconds` is from send to the last byte.
    """

    status: int | None
    body: bytes
    zone: str | None
    host: str | None
    seconds: float
    error: str | None = None


def ask(
    url: str,
    images: Sequence[Path],
    timeout: float,
    *,
    zone_header: str = "X-Served-Zone",
    host_header: str = "X-Served-Host",
) -> dict[str, Answer]:
    """Post each image once to `url`, in the multipart field `file`; return the answers by file name.

    `timeout` is in seconds, for the connection and for each wait for data. Nothing is repeated, no redirect is
    followed, and no proxy or password is taken from the environment. Raises OSError for an image that cannot be read,
    and ValueError for two images of one name; a request that fails is an answer with an error.
    """
    names = [path.name for path in images]
    if len(set(names)) != len(names):
        raise ValueError("two images have the same file name")
    bodies = {path.name: path.read_bytes() for path in images}

    def one(name: str) -> Answer:
        begun = time.monotonic()
        try:
            with requests.Session() as session:
                session.trust_env = False
                reply = session.post(url, files={"file": (name, bodies[name])}, timeout=timeout, allow_redirects=False)
        except requests.RequestException as error:
            return Answer(None, b"", None, None, time.monotonic() - begun, _in_words(error, timeout))
        headers = reply.headers
        seconds = time.monotonic() - begun
        return Answer(reply.status_code, reply.content, headers.get(zone_header), headers.get(host_header), seconds)

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ask") as pool:
        return dict(zip(names, pool.map(one, names), strict=True))


def _in_words(error: requests.RequestException, timeout: float) -> str:
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {timeout:g} s"
    if isinstance(error, requests.Timeout):
        return f"no answer within {timeout:g} s"
    if isinstance(error, requests.exceptions.SSLError):
        return "no trusted TLS connection"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the answer was cut off"
    if isinstance(error, requests.ConnectionError):
        return "no connection, or it was closed before the answer"
    return f"the request cannot be made ({type(error).__name__})"
