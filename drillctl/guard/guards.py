"""The guards of all hosts of one run: leases taken together, undos registered, heartbeats, leases given back."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from typing import TYPE_CHECKING, Self, TypeAlias

from drillctl import account
from drillctl.errors import Aborted, DrillctlError, HostError
from drillctl.guard import orders
from drillctl.guard.client import GuardClient
from drillctl.guard.lease import MEANING, StaleLease
from drillctl.hosts.fleet import each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from drillctl.guard.lease import Holding, Order
    from drillctl.hosts.fleet import Fleet
    from drillctl.inventory import Host, Inventory

SETTLE = 5.0
"""Seconds for which a guard that has begun to undo is awaited; it tries again every second."""

BEATS_PER_TTL = 4
"""How often a lease is renewed within its time."""

OnLost: TypeAlias = "Callable[[str, str, bool], None]"
"""Who is told that a guard was lost: its host, why, and whether the host still answers."""


def owner() -> str:
    """Return who this is, for others to read: user, machine, pid; of odd characters only that they are there."""
    return re.sub(r"[^A-Za-z0-9 ._@+-]", "_", f"{account.user()}@{socket.gethostname()} pid {os.getpid()}")


def clock() -> float:
    """Return seconds of a clock that goes on while the machine sleeps, as the guards' clock does."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Guards:
    """One guard per host. `ttl` is in seconds: without a heartbeat for so long, the guards undo by themselves."""

    def __init__(self, inventory: Inventory, fleet: Fleet, run_id: str, ttl: int) -> None:
        self.ttl = ttl
        self._inventory = inventory
        self._run_id = run_id
        self._hosts: dict[str, Host] = {h.name: h for h in inventory.hosts if h.name in fleet.transports}
        self._clients = {name: GuardClient(fleet[name]) for name in self._hosts}
        self._registered: dict[str, dict[str, Order]] = {name: {} for name in self._hosts}
        self._renewed: dict[str, float] = {}
        self._beats: list[threading.Thread] = []
        self._silent: set[str] = set()
        self.ended: set[str] = set()
        """Hosts whose lease was found to be this run's no more: their guards undid what they held, or somebody did."""
        self._stop = threading.Event()
        self._quiet = threading.Event()
        self._on_lost: OnLost | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def acquire(self, *, again: bool) -> None:
        """Take the lease on every host: the gateways first, by name, so that of two drills one gets them all.

        `again`: for a run that had it before; what the guards hold for it is taken over. Raises Held, or the error of
        a host; what was taken is given back then, and nothing else was changed.
        """
        gateways = sorted(host.name for host in self._inventory.gateway.hosts if host.name in self._hosts)
        zones = [host for name, host in self._hosts.items() if name not in gateways]
        memories = {host.name: orders.memory(self._inventory, host) for host in zones}

        def take(name: str) -> None:
            at = clock()
            self._clients[name].acquire(self._run_id, owner(), self.ttl, memories.get(name, b""))
            self._renewed[name] = at

        try:
            for name in gateways:
                take(name)
            each(zones, lambda host: take(host.name))
            if again:
                each(self._hosts.values(), lambda host: self._adopt(host.name))
        except DrillctlError:
            self._give_back()
            raise

    def register(self, wanted: Mapping[str, Order]) -> None:
        """Have undos written down on their hosts. One that is there already costs nothing.

        Raises Aborted when a lease is not ours any more, HostError when a guard cannot be told.
        """
        new = [host for host in wanted if self._registered[host].get(wanted[host].id) != wanted[host]]

        def register(host: Host) -> None:
            order = wanted[host.name]
            at = clock()
            try:
                self._clients[host.name].register(order)
            except StaleLease as error:
                raise Aborted(error.message, host=error.host, hint=error.hint) from None
            self._registered[host.name][order.id] = order
            self._renewed[host.name] = at

        each([self._hosts[name] for name in new], register)

    def strike(self, order_id: str, hosts: Iterable[str]) -> None:
        """Strike an undo out on hosts. Raises HostError.

        A lease that ran out is fine where its guard has undone it.
        """

        def strike(host: Host) -> None:
            if order_id in self._registered[host.name]:
                with self._ended_is_fine(host.name, order_id):
                    self._clients[host.name].strike(order_id)
                del self._registered[host.name][order_id]

        each([self._hosts[name] for name in hosts], strike)

    def undo(self, host: str, order: Order) -> None:
        """Have a host's guard carry out one undo. Raises HostError when it does not succeed.

        A lease that ran out is fine where the guard has undone it by itself.
        """
        with self._ended_is_fine(host, order.id):
            if self._registered[host].get(order.id) != order:
                # The guard may have been started anew; whether there is anything to undo, it sees for itself.
                self._clients[host].register(order)
            self._clients[host].undo_one(order.id)
        self._registered[host].pop(order.id, None)

    def undo_held(self, order_id: str, hosts: Iterable[str]) -> None:
        """Have the guards carry out an undo as they hold it, for a run that knows too little of it.

        A lease that ran out is fine where its guard has done it by itself. Raises HostError when it does not succeed.
        """

        def undo(host: Host) -> None:
            with self._ended_is_fine(host.name, order_id):
                self._clients[host.name].undo_one(order_id)

        each([self._hosts[name] for name in hosts], undo)

    def expect_silence(self, host: str) -> None:
        """Renew a host's lease no more, and do not call that a loss: it reboots."""
        self._silent.add(host)

    def rejoin(self, host: str, memory: bytes = b"") -> None:
        """Take the lease of a host again that was away. Raises HostError, or Held when somebody else has it by now."""
        at = clock()
        client = self._clients[host]
        client.acquire(self._run_id, owner(), self.ttl, memory)
        self._registered[host] = {}
        self._adopt(host)
        self._renewed[host] = at
        self._silent.discard(host)
        self._start_beat(host)

    def release(self) -> None:
        """Strike what is still registered and give every lease back. Raises HostError; the others are given back.

        For the end of a run that has put everything back, and has seen that it is so.
        """
        self._stop_beats()

        def release(host: Host) -> None:
            client, registered = self._clients[host.name], self._registered[host.name]
            if client.lease is None or host.name in self._silent:
                return
            with self._ended_is_fine(host.name):
                for order_id in list(registered):
                    client.strike(order_id)
                    del registered[order_id]
                client.release()
                return
            client.lease = None

        each(self._hosts.values(), release)

    def start_beats(self, on_lost: OnLost) -> None:
        """Renew every lease from threads of their own; `on_lost` is told, once a host, why contact was lost."""
        self._on_lost = on_lost
        for name in self._hosts:
            self._start_beat(name)

    def quiet(self, wanted: bool) -> None:
        """While it matters that hosts do nothing else, renew only when half of the time has gone by."""
        (self._quiet.set if wanted else self._quiet.clear)()

    def taken(self) -> list[Holding]:
        """Return what guards hold for another run by now, of hosts whose lease may not be this run's any more.

        A guard that cannot be asked is left out: nothing can be done on its host either.
        """
        doubtful = [n for n, at in self._renewed.items() if n in self.ended or clock() - at >= self.ttl]

        def ask(host: Host) -> Holding | None:
            with contextlib.suppress(HostError):
                held = self._clients[host.name].show()
                return held if held.state != "free" and held.run != self._run_id else None
            return None

        found = each([self._hosts[name] for name in doubtful if name not in self._silent], ask)
        others = [holding for holding in found.values() if holding is not None]
        self.ended.update(holding.host for holding in others)
        return others

    def check(self) -> None:
        """Raise Aborted unless every lease is ours for sure: a drill that was frozen must not go on when it wakes."""
        late = [n for n, at in self._renewed.items() if clock() - at >= self.ttl and n not in self._silent]
        if late:
            raise Aborted(
                f"the lease on {', '.join(late)} was not renewed for {self.ttl} s: the guard there undoes by itself",
                hint="was this machine asleep, or is it too busy?",
            )

    def close(self) -> None:
        """Stop the heartbeats. Leases that were not given back run out, and their guards undo what is left."""
        self._stop_beats()

    @contextlib.contextmanager
    def _ended_is_fine(self, name: str, order_id: str | None = None) -> Iterator[None]:
        """Go on after a lease that has ended, and remember it: what its guard undid, this run did not.

        Raises HostError when its guard took over and still holds the order, or with none named anything, of this run.
        """
        try:
            yield
        except StaleLease:
            self.ended.add(name)
            self._settle(name, order_id)

    def _settle(self, name: str, order_id: str | None) -> None:
        """Give a guard that undoes a moment to succeed. Raises HostError when something of this run stays undone."""
        deadline = clock() + SETTLE
        while True:
            held = self._clients[name].show()
            orders = [order.id for order in held.orders if order_id in (None, order.id)]
            if held.run != self._run_id or not orders:
                return
            if held.state == "stuck" or clock() > deadline:
                break
            time.sleep(0.5)
        why = held.log[-1].partition(" ")[2] if held.log else "its log says nothing"
        raise HostError(
            f"the lease ended, and its guard still has to undo {', '.join(orders)} "
            f"({held.state}: {MEANING[held.state]}): {why}",
            host=name,
            state="that is not undone yet",
            hint="mend what its log names, then run `drillctl recover`; `drillctl lease show` says what is left",
        )

    def _adopt(self, name: str) -> None:
        """Remember what the guard holds already under this run's lease."""
        for order in self._clients[name].show().orders:
            self._registered[name][order.id] = order

    def _start_beat(self, name: str) -> None:
        thread = threading.Thread(target=self._beat, args=(name,), name=f"heartbeat {name}", daemon=True)
        self._beats.append(thread)
        thread.start()

    def _beat(self, name: str) -> None:
        """Renew one host's lease until told to stop; report when it was lost, or not renewed for half its time."""
        pause = self.ttl / BEATS_PER_TTL
        reported = False
        while not self._stop.wait(pause):
            if name in self._silent:
                return
            if self._quiet.is_set() and clock() - self._renewed[name] < self.ttl / 2:
                continue
            at = clock()
            try:
                self._clients[name].renew(timeout=max(2.0, pause))
                self._renewed[name] = at
                reported = False
            except HostError as error:
                gone = isinstance(error, StaleLease)
                if self._stop.is_set() or name in self._silent:
                    return
                if gone:
                    self.ended.add(name)
                if not reported and (gone or clock() - self._renewed[name] > self.ttl / 2) and self._on_lost:
                    self._on_lost(name, f"lost contact with the guard: {error}", gone)
                    reported = True
                if gone:
                    return

    def _stop_beats(self) -> None:
        self._stop.set()
        for thread in self._beats:
            thread.join(timeout=5.0)
        self._beats.clear()

    def _give_back(self) -> None:
        """Give back what was just taken; an error here would hide the one that matters."""
        for name, client in self._clients.items():
            if client.lease is not None:
                try:
                    client.release()
                except HostError:
                    client.lease = None
            self._renewed.pop(name, None)
