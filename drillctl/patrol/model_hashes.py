"""The hash of the model file on each host's disk, computed only when the file changed, or once an hour.

Hashing 628 MB takes seconds of a core of the host that serves; what `stat` says of a file tells whether it is worth it.
Hashing may be allowed where `stat` by the user who logs in is not: then it is done once an hour.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drillctl import survey
from drillctl.errors import HostError, Unreachable
from drillctl.patrol import bug

if TYPE_CHECKING:
    from drillctl.hosts.transport import Transport

AGE = 3600.0
"""Seconds after which a hash is computed again although nothing says that the file changed: disks rot."""


AGAIN = 60.0
"""Seconds after which a hash that could not be had is tried for again."""


@dataclass(frozen=True)
class _Hashed:
    signature: str
    sha256: str | None
    at: float
    error: HostError | None = None

    def holds(self, signature: str) -> bool:
        """Tell whether it still says something of a file that has that signature now."""
        return self.signature == signature and time.monotonic() - self.at < (AGE if self.error is None else AGAIN)


class ModelHashes:
    """Hashes by host. They are computed in a thread each, so that a look never waits for one."""

    def __init__(self) -> None:
        self._known: dict[str, _Hashed] = {}
        self._running: dict[str, threading.Thread] = {}
        self.computed = 0

    def of(self, transport: Transport, path: str, *, wait: bool = False) -> str | None:
        """Return the hash of a file as far as it is known now; None while it is not. Raises HostError if there is none.

        `wait` waits for it where it has to be computed, and raises HostError if that takes too long.
        """
        called = f"looking at {path}"
        shown = transport.run(["stat", "-L", "-c", "%d %i %s %Y %Z", "--", path], called=called, check=False)
        signature = shown.text if shown.exit_code == 0 else ""
        known = self._known.get(transport.host)
        running = self._running.get(transport.host)
        if known is not None and known.holds(signature):
            return _told(known)
        if running is None or not running.is_alive():
            running = threading.Thread(
                target=self._compute, args=(transport, path, signature), name=f"hash {transport.host}", daemon=True
            )
            self._running[transport.host] = running
            running.start()
        if wait:
            running.join(survey.HASH_TIMEOUT)
            if running.is_alive():
                raise HostError(f"no hash of {path} within {survey.HASH_TIMEOUT:g} s", host=transport.host)
        known = self._known.get(transport.host)
        # The file is another one by now: what is known of the old one says nothing.
        return _told(known) if known is not None and known.signature == signature else None

    def _compute(self, transport: Transport, path: str, signature: str) -> None:
        try:
            sha256 = survey.model_hash(transport, path)
        except Unreachable:
            return  # the look itself says what is wrong with the host
        except HostError as error:
            self._known[transport.host] = _Hashed(signature, None, time.monotonic(), error)
            return
        except Exception as error:  # noqa: BLE001 - a thread that dies unseen would leave the hash unknown for good
            failed = HostError(bug.in_words(error), host=transport.host)
            self._known[transport.host] = _Hashed(signature, None, time.monotonic(), failed)
            return
        self.computed += 1
        self._known[transport.host] = _Hashed(signature, sha256, time.monotonic())


def _told(known: _Hashed) -> str | None:
    if known.error is not None:
        raise known.error
    return known.sha256
