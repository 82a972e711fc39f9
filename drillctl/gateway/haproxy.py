"""HAProxy as the gateway: servers are made ready, or put into maintenance, through its runtime socket.

Its config is not touched. After every switch the states are written to the file that HAProxy reads when it is
reloaded, so that a reload in the middle of a failover does not send clients back; restoring puts that file back, too.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from drillctl.errors import GatewayError, HostError
from drillctl.gateway import configured_zone, kept_file
from drillctl.gateway import haproxy_scripts as scripts
from drillctl.gateway import haproxy_state as states
from drillctl.gateway.choosing import ChoosingGateway
from drillctl.gateway.gateway import (
    AccessMark,
    ActivatedHost,
    GatewayConfig,
    HostConfig,
    LogPosition,
    Served,
    Server,
    Staged,
    StagedHost,
)
from drillctl.gateway.nginx_config import normalised
from drillctl.gateway.state_file import StateFile, parts_of
from drillctl.privileges.program import REFUSED as NOT_TAKEN

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from drillctl.gateway.haproxy_state import Admin, BackendServer
    from drillctl.hosts.transport import Completed, Transport
    from drillctl.inventory import Haproxy, Host, Inventory

_REFUSED = 3
_UNKNOWN = "unknown: the switch may or may not have happened; restoring settles it"


class HaproxyGateway(ChoosingGateway["_HaproxyHost"]):
    """All HAProxy hosts of an inventory."""

    def __init__(
        self, inventory: Inventory, options: Haproxy, transports: Mapping[str, Transport], run_id: str
    ) -> None:
        del run_id  # nothing is staged that would need a name
        self._options = options
        super().__init__(inventory, {h.name: _HaproxyHost(options, h, transports[h.name]) for h in options.hosts})

    def read(self) -> GatewayConfig:
        configs = self._everywhere(lambda host: host.read())
        named = {name: self._zone(config.choice) for name, config in configs.items()}
        reasons = [f"{name}: {why}" for name, (_, why) in named.items() if why]
        zones = {zone for zone, _ in named.values()}
        if not reasons and len(zones) > 1:
            reasons = ["the gateway hosts disagree: " + ", ".join(f"{host} → {z}" for host, (z, _) in named.items())]
        return GatewayConfig(tuple(configs.values()), None if reasons else zones.pop(), "; ".join(reasons) or None)

    def test(self) -> Mapping[str, str]:
        return self._everywhere(lambda host: host.test())

    def places(self) -> Mapping[str, tuple[str, ...]]:
        return {host.name: () for host in self._options.hosts}

    def stage(self, zone: str) -> Staged:
        zones = {z.name: configured_zone.addresses(self._inventory, z) for z in self._inventory.zones}
        if zone not in zones:
            raise GatewayError(f"there is no zone `{zone}`; there are: {', '.join(zones)}")

        def stage(host: _HaproxyHost) -> StagedHost:
            servers = host.servers()
            ready = {server.name for server in host.of(servers, zones[zone])}
            others = [address for name, own in zones.items() if name != zone for address in own]
            known = ready | {server.name for server in host.of(servers, others)}
            strangers = sorted(server.name for server in servers if server.name not in known)
            if strangers:
                raise GatewayError(
                    f"the backend also has {', '.join(strangers)}, of no zone",
                    host=host.name,
                    hint="name them in the inventory, or give them a backend of their own",
                    state="nothing was changed",
                )
            wanted: dict[str, Admin] = {s.name: "ready" if s.name in ready else "maint" for s in servers}
            return host.stage(servers, wanted)

        return Staged(zone, tuple(self._everywhere(stage).values()))

    def access_mark(self) -> AccessMark:
        counters = self._everywhere(lambda host: host.answers())
        return AccessMark(dict.fromkeys(counters, LogPosition(0, 0)), counters)

    def served_since(self, mark: AccessMark) -> Served:
        """Count from HAProxy's own counters; what is smaller than at the mark has begun anew, at a reload."""

        def since(host: _HaproxyHost) -> dict[str, int]:
            before = mark.counters.get(host.name, {})
            places = {server.name: self._called(server) for server in host.servers()}
            counted: dict[str, int] = {}
            for name, now in host.answers().items():
                new = now - before.get(name, 0) if now >= before.get(name, 0) else now
                if new:
                    counted[places.get(name, name)] = new
            return counted

        total: dict[str, int] = {}
        for part in self._everywhere(since).values():
            for address, number in part.items():
                total[address] = total.get(address, 0) + number
        return Served(sum(total.values()), total)

    def _called(self, server: states.BackendServer) -> str:
        """Return what the inventory calls a server, by address or by name; its address when it is of no zone."""
        names = {*server.names, *map(normalised, server.names)}
        for zone in self._inventory.zones:
            for address in configured_zone.addresses(self._inventory, zone):
                if address in names or normalised(address) in names:
                    return address
        return server.address

    def zone_of(self, config: HostConfig) -> str | None:
        return self._zone(config.choice)[0]

    def _zone(self, choice: str) -> tuple[str | None, str | None]:
        """Return the zone whose servers are exactly those that are ready, or None and the reason."""
        words, _, places = choice.partition(" | ")[0].partition(" at ")
        by_name = dict(zip(states.from_words(words), places.split(" "), strict=False))
        ready = {name for name, admin in states.from_words(words).items() if admin == "ready"}
        servers = [states.BackendServer(name, place, (place, name), "ready") for name, place in by_name.items()]
        for zone in self._inventory.zones:
            try:
                own = states.servers_of(servers, configured_zone.addresses(self._inventory, zone))
            except GatewayError as error:
                return None, error.message
            if ready == {server.name for server in own}:
                return zone.name, None
        return None, f"ready are {', '.join(sorted(ready)) or 'none'}"


class _HaproxyHost:
    """HAProxy on one host."""

    def __init__(self, options: Haproxy, host: Host, transport: Transport) -> None:
        self.name = host.name
        self.address = host.address
        self.transport = transport
        self._options = options
        self._discarded = True

    def read(self) -> HostConfig:
        """Return the config file, with the servers' states and the state file as its choice.

        Its content is what sha256sum prints of it: a haproxy.cfg may hold passwords, and is never put back.
        """
        done = self._script(scripts.READ, self._options.config)
        resolved, rights, digest = done.stdout.decode("utf-8", "surrogateescape").split("\n", 2)
        mode, _, owner = rights.partition(" ")
        if self.transport.installed is not None and resolved != self._options.config:
            raise GatewayError(
                f"{self._options.config} leads to {resolved}, and the programs installed here know only the former",
                host=self.name,
                hint=f"set `gateway.config` to {resolved}, then install them again (`drillctl privileges --help`)",
                state="nothing was changed",
            )
        content = f"{digest}  {self._options.config}\n".encode()
        servers = self.servers()
        places = " ".join(server.address for server in servers)
        return HostConfig(
            host=self.name,
            path=self._options.config,
            resolved=resolved,
            content=content,
            sha256=hashlib.sha256(content).hexdigest(),
            mode=int(mode, 8),
            owner=owner,
            servers=tuple(
                Server(0, s.address, "enabled" if s.admin == "ready" else "down", f"{s.name} {s.admin}")
                for s in servers
            ),
            choice=f"{states.in_words(servers)} at {places} | {self.state_file().in_words()}",
        )

    def servers(self) -> tuple[BackendServer, ...]:
        """Return the servers of the backend, as they are set now."""
        text = self._script(scripts.STATES, self._options.socket, self._options.backend).text
        try:
            return states.read_servers(text, self._options.backend)
        except GatewayError as error:
            raise GatewayError(error.message, host=self.name, hint=error.hint) from None

    def of(self, servers: Collection[BackendServer], addresses: Collection[str]) -> tuple[BackendServer, ...]:
        """Return the servers of a zone."""
        try:
            return states.servers_of(servers, addresses)
        except GatewayError as error:
            raise GatewayError(error.message, host=self.name, hint=error.hint, state="nothing was changed") from None

    def state_file(self) -> StateFile:
        """Return the file that HAProxy reads the states from when it is reloaded."""
        done = self._script(scripts.FILE, self._options.state_file, str(StateFile.MOST_BYTES))
        return StateFile.read(done.stdout)

    def test(self) -> str:
        """Test the config on disk, and see that a reload would take the states over."""
        words = [self._options.program, "-c", "-f", self._options.config]
        done = self.transport.run(words, check=False, privileged=True)
        if done.exit_code != 0:
            raise GatewayError(f"haproxy does not accept its live config: {done.complaint}", host=self.name)
        lines = self._script(scripts.STATE_LINES, self._options.config).text
        missing = states.missing_in_config(lines, self._options.state_file)
        if missing:
            raise GatewayError(
                f"{self._options.config}: {'; '.join(missing)}: a reload would send clients back to where they were",
                host=self.name,
                hint="docs/gateway.md shows the lines that HAProxy needs",
                state="nothing was changed",
            )
        return done.complaint

    def stage(self, servers: Collection[BackendServer], wanted: Mapping[str, Admin]) -> StagedHost:
        """Return what is to be set, once it is known that it can be."""
        tested = self.test()
        if self.transport.installed is not None:
            self._check_put_back(self.state_file())
        self._script(scripts.PREPARE, self._options.state_file)
        self._discarded = False
        before = states.in_words(servers)
        after = " ".join(f"{name}={admin}" for name, admin in wanted.items())
        return StagedHost(
            host=self.name,
            live=self._options.socket,
            candidate=states.commands(self._options.backend, wanted),
            content=after.encode(),
            sha256=_sha256(after),
            original_sha256=_sha256(before),
            diff=f"--- {self._options.backend} (live)\n+++ {self._options.backend} (candidate)\n-{before}\n+{after}\n",
            tested=tested,
        )

    def _check_put_back(self, file: StateFile) -> None:
        why = kept_file.not_put_back(file.mode, file.owner) if file.mode else None
        if why is not None:
            raise GatewayError(
                f"{self._options.state_file} {why}: the programs installed here could not put it back",
                host=self.name,
                hint="an administrator sets it right with chown and chmod, or removes it",
                state="nothing was changed",
            )

    def activate(self, staged: StagedHost) -> ActivatedHost:
        """Set the servers' states, and write them down for the next reload."""
        if self._discarded:
            raise GatewayError("it was discarded, or used already", host=self.name, state="nothing was changed")
        before = staged.diff.splitlines()[2].removeprefix("-")
        self._discarded = True
        options = self._options
        arguments = (options.socket, options.backend, before, staged.candidate, options.state_file)
        return self._switch(staged.sha256, scripts.SWITCH, *arguments)

    def restore(self, original: HostConfig, over: Collection[str]) -> ActivatedHost:
        """Set the servers as they were, unless they are neither that nor one of `over`."""
        self._discarded = True
        words, file = parts_of(original.choice)
        now = self.servers()
        wanted = _sha256(words)
        found = _sha256(states.in_words(now))
        if found not in {wanted, *over}:
            raise GatewayError(
                f"someone else changed the servers' states: they are {states.in_words(now)}",
                host=self.name,
                state="they were left as they are",
                hint=f"before the drill they were {words}",
            )
        commands = "" if found == wanted else states.commands(self._options.backend, states.from_words(words))
        return self._switch(
            wanted,
            scripts.PUT,
            self._options.socket,
            commands,
            self._options.state_file,
            *file.words,
            stdin=file.content,
        )

    def check(self, sha256: str) -> None:
        """Raise GatewayError unless the servers are set as it was meant."""
        now = states.in_words(self.servers())
        if _sha256(now) != sha256:
            raise GatewayError(
                f"HAProxy took the commands, but its servers are {now}",
                host=self.name,
                state="clients go where they say",
            )

    def answers(self) -> dict[str, int]:
        """Return how many answers each server has given."""
        return states.answers(self._script(scripts.STAT, self._options.socket).text, self._options.backend)

    def discard(self) -> None:
        """Forget what was staged."""
        self._discarded = True

    def _switch(self, sha256: str, source: str, *arguments: str, stdin: bytes = b"") -> ActivatedHost:
        begun = time.monotonic()
        try:
            done = self._script(source, *arguments, stdin=stdin)
        except HostError as error:
            error.state = error.state or _UNKNOWN
            raise
        said, _, times = done.text.rpartition("== ")
        wrong = states.complaint(said)
        if wrong is not None:
            raise GatewayError(f"HAProxy says: {wrong}", host=self.name, state=_UNKNOWN)
        start, _, end = times.partition(" ")
        return ActivatedHost(
            host=self.name,
            sha256=sha256,
            seconds=time.monotonic() - begun,
            switch_seconds=float(end) - float(start),
        )

    def _script(self, source: str, *arguments: str, stdin: bytes = b"") -> Completed:
        done = self.transport.script("HAProxy's program", source, *arguments, stdin=stdin, check=False, privileged=True)
        if done.exit_code in {_REFUSED, NOT_TAKEN}:
            raise GatewayError(done.complaint, host=self.name, state="nothing was changed")
        if done.exit_code != 0:
            raise GatewayError(f"speaking to HAProxy failed: {done.complaint}", host=self.name, state=_UNKNOWN)
        return done


def _sha256(words: str) -> str:
    return hashlib.sha256(words.encode()).hexdigest()
