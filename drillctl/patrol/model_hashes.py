"""The hash of the model file on each host's disk, computed only when the file changed, or once an hour.

Hashing 628 MB takes seconds of a core of the host that serves; what `stat` says of a file tells whether it is worth it.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drillctl import survey
from drillctl.errors import HostError

if TYPE_CHECKING:
    from drillctl.hosts.transport import Transport

AGE = 3600.0
"""Seconds after which a hash is computed again although nothing says that the file changed: disks rot."""


@dataclass(frozen=True)
class _Hashed:
    signature: str
    sha256: str | None
    at: float


class ModelHashes:
    """Hashes by host. They are computed in a thread each, so that a look never waits for one."""

    def __init__(self) -> None:
        self._known: dict[str, _Hashed] = {}
        self._running: dict[str, threading.Thread] = {}
        self.computed = 0

    def of(self, transport: Transport, path: str, *, wait: bool = False) -> str | None:
        """Return the hash of a file as far as it is known now; None while it is not. Raises HostError without a file.

        `wait` waits for it where it has to be computed.
        """
        called = f"looking at {path}"
        signature = transport.run(["stat", "-L", "-c", "%d %i %s %Y %Z", "--", path], called=called).text
        known = self._known.get(transport.host)
        running = self._running.get(transport.host)
        if known is not None and known.signature == signature and time.monotonic() - known.at < AGE:
            return known.sha256
        if running is None or not running.is_alive():
            running = threading.Thread(
                target=self._compute, args=(transport, path, signature), name=f"hash {transport.host}", daemon=True
            )
            self._running[transport.host] = running
            running.start()
        if wait:
            running.join(survey.HASH_TIMEOUT)
        known = self._known.get(transport.host)
        # The file is another one by now: what is known of the old one says nothing.
        return known.sha256 if known is not None and known.signature == signature else None

    def _compute(self, transport: Transport, path: str, signature: str) -> None:
        try:
            sha256 = survey.model_hash(transport, path)
        except HostError:
            return  # the look itself says what is wrong with the host
        self.computed += 1
        self._known[transport.host] = _Hashed(signature, sha256, time.monotonic())
