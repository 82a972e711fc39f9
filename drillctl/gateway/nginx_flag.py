"""nginx that chooses the upstream by a flag file: switched by setting the flag or taking it away, without a reload.

The config is not touched. `drillctl gateway adopt` writes what the choice needs (nginx_adoption.py); until then
`read` says what is missing. `flag.py` has the flag and its programs.
"""

from __future__ import annotations

import time
from dataclasses import replace
from posixpath import dirname, join
from typing import TYPE_CHECKING

from drillctl.errors import GatewayError, HostError
from drillctl.gateway import access_log, configured_zone
from drillctl.gateway import flag as flags
from drillctl.gateway.choosing import ChoosingGateway
from drillctl.gateway.flag import Flag
from drillctl.gateway.gateway import (
    AccessMark,
    ActivatedHost,
    GatewayConfig,
    HostConfig,
    Served,
    Staged,
    StagedHost,
)
from drillctl.gateway.nginx_adoption import flag_choice
from drillctl.gateway.nginx_config import normalised, read_upstream
from drillctl.gateway.nginx_host import NginxHost
from drillctl.privileges.program import REFUSED as NOT_TAKEN

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from drillctl.hosts.transport import Completed, Transport
    from drillctl.inventory import Host, Inventory, NginxFlag, Role

ADOPT = "`drillctl gateway adopt` sets it up, and shows what it would change first"

_REFUSED = 3


class FlagGateway(ChoosingGateway["_FlagHost"]):
    """All nginx hosts of an inventory whose gateway is of the kind `nginx-flag`."""

    def __init__(
        self, inventory: Inventory, options: NginxFlag, transports: Mapping[str, Transport], run_id: str
    ) -> None:
        self._options = options
        hosts = {host.name: _FlagHost(options, host, transports[host.name], run_id) for host in options.hosts}
        super().__init__(inventory, hosts)

    def read(self) -> GatewayConfig:
        configs = self._everywhere(lambda host: host.read())
        zones = {name: self.zone_of(config) for name, config in configs.items()}
        reasons = [f"{name}: {why}" for name, config in configs.items() if (why := self._missing(config))]
        if len(set(zones.values())) > 1:
            reasons.append("the gateway hosts disagree: " + ", ".join(f"{host} → {z}" for host, z in zones.items()))
        zone = None if reasons else next(iter(zones.values()))
        return GatewayConfig(tuple(configs.values()), zone, "; ".join(reasons) or None)

    def test(self) -> Mapping[str, str]:
        return self._everywhere(lambda host: host.nginx.test())

    def places(self) -> Mapping[str, tuple[str, ...]]:
        return self._everywhere(lambda host: (host.candidate,))

    def stage(self, zone: str) -> Staged:
        zones = [z.name for z in self._inventory.zones]
        if zone not in zones:
            raise GatewayError(f"there is no zone `{zone}`; there are: {', '.join(zones)}")
        raised = zone == self._inventory.home("standby").name

        def stage(host: _FlagHost) -> StagedHost:
            config = host.read()
            if why := self._missing(config):
                raise GatewayError(why, host=host.name, hint=ADOPT, state="nothing was changed")
            return host.stage(config, raised=raised)

        return Staged(zone, tuple(self._everywhere(stage).values()))

    def access_mark(self) -> AccessMark:
        return AccessMark(self._everywhere(lambda host: host.nginx.access_mark()))

    def served_since(self, mark: AccessMark) -> Served:
        zones = self._inventory.zones
        addresses = [address for zone in zones for address in configured_zone.addresses(self._inventory, zone)]
        parts = self._everywhere(lambda host: host.nginx.served_since(mark.positions[host.name], addresses))
        return access_log.total(tuple(parts.values()))

    def zone_of(self, config: HostConfig) -> str:
        return self._inventory.home("primary" if flags.from_words(config.choice) is None else "standby").name

    def _missing(self, config: HostConfig) -> str | None:
        """Return what the config lacks to send clients to either zone by the flag, or None."""
        options = self._options
        upstreams: dict[Role, str] = {"primary": options.upstream, "standby": options.standby_upstream}
        for role, upstream in upstreams.items():
            zone = self._inventory.home(role)
            try:
                servers = read_upstream(config.content, upstream)
            except GatewayError as error:
                return f"{config.path}: {error.message}"
            serving = {normalised(server.address) for server in servers if server.state == "enabled"}
            if serving != {normalised(address) for address in configured_zone.addresses(self._inventory, zone)}:
                named = ", ".join(sorted(serving)) or "nobody"
                return f"{config.path}: upstream `{upstream}` names {named}, not the servers of {zone.name}"
        missing = flag_choice(config.content, options)
        return f"{config.path}: {missing}" if missing else None


class _FlagHost:
    """The flag and the nginx of one host."""

    def __init__(self, options: NginxFlag, host: Host, transport: Transport, run_id: str) -> None:
        self.name = host.name
        self.address = host.address
        self.transport = transport
        self.nginx = NginxHost(options, transport, run_id)
        self.flag = options.flag_file
        self.candidate = join(dirname(self.flag), f".drillctl-{run_id}.flag")
        self._pidfile = options.pidfile
        self._content = flags.content_of(run_id)

    def read(self) -> HostConfig:
        """Return the live config, with the flag as its choice."""
        return replace(self.nginx.read(), choice=flags.in_words(self._look()))

    def stage(self, config: HostConfig, *, raised: bool) -> StagedHost:
        """Write the candidate beside the flag, see that nginx goes by its config, and that workers can see the flag."""
        tested = self.nginx.test()
        self.nginx.check_in_force(config)
        found = flags.from_words(config.choice)
        if self.transport.installed is not None and found and (why := flags.not_put_back(found)):
            raise GatewayError(
                f"{self.flag} {why}: the programs installed here could not put it back",
                host=self.name,
                hint="an administrator takes it away; an empty file in its place, made by root, means the same",
                state="nothing was changed",
            )
        self._script(flags.STAGE, self.flag, self.candidate, self._pidfile, stdin=self._content)
        return StagedHost(
            host=self.name,
            live=self.flag,
            folder=self.candidate,
            candidate=self.candidate,
            content=self._content if raised else b"",
            sha256=Flag(self._content).sha256 if raised else "absent",
            original_sha256="absent" if found is None else found.sha256,
            diff=f"--- {self.flag} (live)\n+++ {self.flag} (candidate)\n"
            + ("+ set: clients go to the standby\n" if raised else "- taken away: clients go to the primary\n"),
            tested=tested,
        )

    def activate(self, staged: StagedHost) -> ActivatedHost:
        """Set the flag, or take it away; refuses when somebody else did so since."""
        if staged.sha256 == "absent":
            return self._switch(staged.sha256, flags.LOWER, self.flag, self.candidate, staged.original_sha256)
        line = self._content.decode().rstrip("\n")
        return self._switch(staged.sha256, flags.RAISE, self.flag, self.candidate, line)

    def restore(self, original: HostConfig, over: Collection[str]) -> ActivatedHost:
        """Make the flag what it was, unless it is neither that nor one of `over`."""
        was = flags.from_words(original.choice)
        wanted = ("", "", "") if was is None else (was.sha256, f"{was.mode:o}", was.owner)
        content = b"" if was is None else was.content
        arguments = (self.flag, self.candidate, *wanted, " ".join(sorted(over)))
        return self._switch(wanted[0] or "absent", flags.PUT, *arguments, stdin=content)

    def check(self, sha256: str) -> None:
        """Raise GatewayError unless the flag is there with that hash (`absent`: is not there)."""
        found = self._look()
        if (found.sha256 if found else "absent") != sha256:
            raise GatewayError(
                f"{self.flag} is {'set by someone else' if found else 'not there any more'}",
                host=self.name,
                state="clients go where the flag says" if found else "clients go to the primary",
            )

    def discard(self) -> None:
        """Remove the candidate."""
        self._script(flags.DISCARD, self.candidate)

    def _look(self) -> Flag | None:
        done = self._script(flags.LOOK, self.flag, str(flags.MOST_BYTES))
        if done.text == "absent":
            return None
        rights, _, content = done.text.partition("\n")
        return flags.from_words(f"flag {rights} {content.strip() or '-'}")

    def _switch(self, sha256: str, source: str, *arguments: str, stdin: bytes = b"") -> ActivatedHost:
        begun = time.monotonic()
        try:
            done = self._script(source, *arguments, stdin=stdin)
        except HostError as error:
            error.state = error.state or "unknown: the flag may or may not have been changed; restoring settles it"
            raise
        start, _, end = done.text.partition(" ")
        return ActivatedHost(
            host=self.name,
            sha256=sha256,
            seconds=time.monotonic() - begun,
            switch_seconds=float(end) - float(start),
        )

    def _script(self, source: str, *arguments: str, stdin: bytes = b"") -> Completed:
        done = self.transport.script(
            "a program on the host", source, *arguments, stdin=stdin, check=False, privileged=True
        )
        if done.exit_code in {_REFUSED, NOT_TAKEN}:
            raise GatewayError(done.complaint, host=self.name, state="nothing was changed")
        if done.exit_code != 0:
            raise GatewayError(
                f"a program on the host ended with exit code {done.exit_code}: {done.complaint}", host=self.name
            )
        return done
