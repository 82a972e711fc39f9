"""All hosts of an inventory at once: connected in parallel, asked in parallel, closed together."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self, TypeVar

from drillctl.errors import DrillctlError, HostError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from drillctl.hosts.ssh import SshTransport
    from drillctl.hosts.transport import Transport
    from drillctl.inventory import Host, Inventory

T = TypeVar("T")

PAUSE = 0.2
"""Seconds between two attempts to log in again."""


class Fleet:
    """Connected hosts by name."""

    def __init__(self, inventory: Inventory, transports: Mapping[str, Transport]) -> None:
        self.inventory = inventory
        self.transports = dict(transports)
        self.lost: set[str] = set()
        """Hosts whose connection was given up."""

    def __getitem__(self, host: Host | str) -> Transport:
        """Return the transport of a host."""
        return self.transports[host if isinstance(host, str) else host.name]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hang_up(self, host: str) -> None:
        """Give a host up that does not answer any more: what waits for it, in whatever thread, fails at once."""
        self.lost.add(host)
        self.transports[host].close()

    def reconnect(self, hosts: Collection[str], within: float) -> dict[str, bool]:
        """Log in again, at once, to hosts whose connection was lost; tell for each whether that was done in time.

        What is refused is tried again until then: an sshd that is being restarted refuses for a moment.
        A login that takes longer goes on, and the host can be used from when it succeeds.
        """
        back: dict[str, bool] = dict.fromkeys(hosts, False)

        def attempt(host: str) -> None:
            # Why it cannot be reached is said by whatever needs it next.
            while True:
                with contextlib.suppress(DrillctlError):
                    self.transports[host].reconnect()
                    self.lost.discard(host)
                    back[host] = True
                    return
                if time.monotonic() + PAUSE > deadline:
                    return
                time.sleep(PAUSE)

        deadline = time.monotonic() + within
        threads = [threading.Thread(target=attempt, args=(host,), name=f"login {host}", daemon=True) for host in hosts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return dict(back)

    def close(self) -> None:
        """Close every connection."""
        for transport in self.transports.values():
            transport.close()


def each(items: Iterable[Host], work: Callable[[Host], T]) -> dict[str, T]:
    """Do `work` for hosts in parallel; return the results by host name.

    Waits for all of them. Raises the first host's error, with the others' in its message, when any failed.
    """
    hosts = list(items)
    with ThreadPoolExecutor(max_workers=max(1, min(32, len(hosts)))) as pool:
        futures = {host.name: pool.submit(work, host) for host in hosts}
    errors = [error for future in futures.values() if (error := future.exception()) is not None]
    for error in errors:
        if not isinstance(error, DrillctlError):
            raise error
    if errors:
        raise joined([error for error in errors if isinstance(error, DrillctlError)])
    return {name: future.result() for name, future in futures.items()}


def connect(inventory: Inventory) -> Fleet:
    """Log in to every host in parallel. Raises the error of the hosts that failed; none stays connected then."""
    fleet, errors = connect_all(inventory)
    if errors:
        fleet.close()
        raise joined(list(errors.values()))
    return fleet


def connect_all(inventory: Inventory) -> tuple[Fleet, dict[str, DrillctlError]]:
    """Log in to every host in parallel; return those that answered, and the errors of the others by name."""
    opened: dict[str, Transport] = {}
    errors: dict[str, DrillctlError] = {}

    def attempt(host: Host) -> None:
        try:
            opened[host.name] = login(inventory, host)
        except DrillctlError as error:
            errors[host.name] = error

    each(inventory.hosts, attempt)
    return Fleet(inventory, opened), errors


def login(inventory: Inventory, host: Host) -> SshTransport:
    """Log in to a host, and see that it has the programs that it must have. Raises HostError; nothing stays open."""
    from drillctl.hosts import ssh

    options = inventory.login(host)
    transport = ssh.connect(host.name, host.address, options)
    try:
        if options.by == "installed":
            from drillctl.privileges.installed import Installed

            transport.installed = Installed(inventory, host)
            transport.installed.verify(transport)
    except BaseException:
        transport.close()
        raise
    return transport


def joined(errors: list[DrillctlError]) -> DrillctlError:
    """Return one error that names every host that failed; the class and hint are the first one's."""
    first = errors[0]
    if len(errors) == 1:
        return first
    message = "; ".join(str(error) for error in errors)
    kind = type(first) if isinstance(first, HostError) else HostError
    return kind(message, hint=first.hint, state=first.state)
