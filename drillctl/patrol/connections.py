"""Connections that stay open between looks; one that was lost is made anew, ever less often while that fails."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Self

from drillctl.errors import DrillctlError, HostKeyRefused
from drillctl.hosts.fleet import Fleet, each, login
from drillctl.patrol import bug
from drillctl.patrol.look import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.hosts.transport import Transport
    from drillctl.inventory import Host, Inventory

FIRST_PAUSE = 2.0
LONGEST_PAUSE = 60.0
"""Seconds between two attempts to reach a host, at first and at most; a host that is back is seen a minute later."""

IDLE_CHECK = 2.0
"""Seconds between two looks of an idle connection at itself: by paramiko's own 0.1 s, twenty of them cost as much
as all looks together."""


class Connections:
    """Connections to the hosts of an inventory, by name."""

    def __init__(self, inventory: Inventory, connect: Callable[[Host], Transport] | None = None) -> None:
        self._inventory = inventory
        self._connect = connect or self._login
        self._open: dict[str, Transport] = {}
        self._troubles: dict[str, Trouble] = {}
        self._pauses: dict[str, float] = {}
        self._again: dict[str, float] = {}
        self._known: set[str] = set()
        self.reconnects = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fleet(self) -> tuple[Fleet, dict[str, Trouble]]:
        """Connect the hosts that are not, where it is time to; return those that are, and why the others are not."""
        now = time.monotonic()
        wanted = [h for h in self._inventory.hosts if h.name not in self._open and self._again.get(h.name, now) <= now]
        each(wanted, self._attempt)
        fleet = Fleet(self._inventory, self._open)
        return fleet, {name: trouble for name, trouble in self._troubles.items() if name not in self._open}

    def lost(self, host: str, why: str) -> None:
        """Give up a connection that did not answer; the next look makes another one."""
        transport = self._open.pop(host, None)
        if transport is not None:
            with contextlib.suppress(OSError):
                transport.close()
        self._troubles[host] = Trouble(why)

    def close(self) -> None:
        """Close all of them."""
        for transport in self._open.values():
            with contextlib.suppress(OSError):
                transport.close()
        self._open.clear()

    def _attempt(self, host: Host) -> None:
        try:
            self._open[host.name] = self._connect(host)
        except Exception as error:  # noqa: BLE001 - whatever a host says at its login, the others are to be looked at
            self._troubles[host.name] = (
                Trouble(error.message, refused=isinstance(error, HostKeyRefused))
                if isinstance(error, DrillctlError)
                else Trouble(bug.in_words(error), bug=True)
            )
            pause = min(LONGEST_PAUSE, self._pauses.get(host.name, FIRST_PAUSE / 2) * 2)
            self._pauses[host.name] = pause
            self._again[host.name] = time.monotonic() + pause
            return
        self._pauses.pop(host.name, None)
        self._troubles.pop(host.name, None)
        if host.name in self._known:
            self.reconnects += 1
        self._known.add(host.name)

    def _login(self, host: Host) -> Transport:
        transport = login(self._inventory, host)
        transport.rest(IDLE_CHECK)
        return transport
