"""A client of its own, beside drillctl's traffic: it posts an image all the time, and knows when nobody served it."""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from urllib3 import encode_multipart_formdata

if TYPE_CHECKING:
    from pathlib import Path

PAUSE = 0.1
"""Seconds between two requests; what is measured with them is not finer than this."""

TIMEOUT = 2.0
"""Seconds for which a client waits for an answer."""


@dataclass(frozen=True)
class Asked:
    """One request: when it was sent and done (seconds of the monotonic clock), and which zone answered with 200.

    `error` is the status or the kind of error when none did.
    """

    sent: float
    done: float
    zone: str | None
    error: str = ""

    @property
    def good(self) -> bool:
        """Tell whether it was answered well."""
        return self.zone is not None


@dataclass(frozen=True)
class Span:
    """A time without service: from the sending of the first request that failed to the first good answer after it.

    `zone` is the one that gave that answer; None when there was none yet.
    """

    begin: float
    end: float
    zone: str | None = None

    @property
    def seconds(self) -> float:
        """Return how long it was."""
        return self.end - self.begin


def spans(asked: list[Asked]) -> list[Span]:
    """Return the times without service in a series of requests (pure); the last one may not have ended yet."""
    found: list[Span] = []
    begin: float | None = None
    for one in asked:
        if one.good and begin is not None:
            found.append(Span(begin, one.done, one.zone))
            begin = None
        elif not one.good and begin is None:
            begin = one.sent
    if begin is not None:
        found.append(Span(begin, asked[-1].done))
    return found


def served(asked: list[Asked]) -> str:
    """Return who answered for how long, in order: `zone-a 1.2 s, nobody (502) 0.4 s, zone-b 3.0 s` (pure)."""
    parts: list[tuple[str, float, float]] = []
    for one in asked:
        who = one.zone or f"nobody ({one.error})"
        begin = parts[-1][1] if parts and parts[-1][0] == who else one.sent
        if parts and parts[-1][0] == who:
            parts.pop()
        parts.append((who, begin, one.done))
    return ", ".join(f"{who} {end - begin:.1f} s" for who, begin, end in parts)


class Client:
    """Asks a URL from `with` on until it is closed: posts an image, or just gets it."""

    def __init__(self, url: str, image: Path | None = None) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname or "", parts.port or 80
        self._path = parts.path
        self._body, self._headers = None, {}
        if image is not None:
            self._body, kind = encode_multipart_formdata({"file": (image.name, image.read_bytes())})
            self._headers = {"Content-Type": kind}
        self._asked: list[Asked] = []
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="client", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop asking."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    def since(self, moment: float) -> list[Asked]:
        """Return the requests that were sent from a moment on."""
        with self._lock:
            return [one for one in self._asked if one.sent >= moment]

    def good_for(self, seconds: float, since: float) -> bool:
        """Tell whether every request of the last seconds, all of them after a moment, was answered well."""
        now = time.monotonic()
        if now - since < seconds:
            return False
        last = self.since(now - seconds)
        return len(last) >= 2 and all(one.good for one in last)

    def wait_good(self, seconds: float, since: float, within: float) -> bool:
        """Wait until there is service for some seconds; tell whether that came within a time."""
        deadline = time.monotonic() + within
        while not self.good_for(seconds, since):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def ask(self) -> tuple[str | None, str]:
        """Ask once; return the zone that answered with 200 (`unnamed` when it does not say), or None and why not."""
        connection = http.client.HTTPConnection(*self._address, timeout=TIMEOUT)
        try:
            connection.request("GET" if self._body is None else "POST", self._path, self._body, self._headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                return None, str(answer.status)
            return answer.headers.get("X-Served-Zone", "unnamed"), ""
        except (OSError, http.client.HTTPException) as error:
            return None, type(error).__name__
        finally:
            connection.close()

    def _go_on(self) -> None:
        while not self._done.wait(PAUSE):
            sent = time.monotonic()
            zone, error = self.ask()
            with self._lock:
                self._asked.append(Asked(sent, time.monotonic(), zone, error))
