"""Making the nginx of a gateway fit for drills: adopt its config on every host, and put the original back.

What is changed is in `nginx_adoption.py`. Here it is staged and tested as a switch is, put in place, proven, and the
original kept beside the live file, in `.drillctl-adopted-NAME` (with the sha256 sums of both in `….sums`), until it is
put back. Nothing is done while a drill holds a host's lease.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, field
from posixpath import basename, dirname, join
from typing import TYPE_CHECKING

from drillctl.errors import DrillctlError, GatewayError, NotStarted
from drillctl.gateway import configured_zone, data_path
from drillctl.gateway import flag as flags
from drillctl.gateway.hosts import GatewayHosts
from drillctl.gateway.nginx_adoption import adopt
from drillctl.gateway.nginx_config import diff
from drillctl.gateway.nginx_host import NginxHost
from drillctl.gateway.nginx_inheritance import http_level
from drillctl.guard.client import GuardClient
from drillctl.inventory import Nginx, NginxFlag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drillctl.gateway.gateway import HostConfig, StagedHost
    from drillctl.hosts.transport import Transport
    from drillctl.inventory import Inventory

RUN_ID = "adopt"
WITHIN = 15.0
"""Seconds within which the adopted config must be in force, and the primary must answer through it."""

_KEEP = r"""
set -eu
umask 077
cp --preserve=all -- "$1" "$2" 2>/dev/null || cp -p -- "$1" "$2"
printf '%s\n' "$3" > "$2.sums"
sync -- "$2" "$2.sums" 2>/dev/null || sync
"""
_NOTE = r"""printf '%s\n' "$2" > "$1.sums" && { sync -- "$1.sums" 2>/dev/null || sync; }"""
SUMS = r"""[ ! -f "$1.sums" ] || cat -- "$1.sums" """
"""kept original → sha256 of it and of what was adopted, in one line; nothing when none is kept."""
_FORGET = r"""rm -f -- "$1" "$1.sums" """


@dataclass(frozen=True)
class HostPlan:
    """What is to be done on one host: the live config, the bytes to put there, and the difference, for a person.

    `sums`: sha256 of the kept original and of what was adopted; None when nothing is kept.
    """

    config: HostConfig
    content: bytes = field(repr=False)
    diff: str
    sums: tuple[str, str] | None

    @property
    def changes(self) -> bool:
        """Tell whether anything is to be done."""
        return self.content != self.config.content


class Adoption:
    """Adopts the config on all hosts of an nginx gateway, or puts the originals back."""

    def __init__(self, inventory: Inventory, transports: Mapping[str, Transport]) -> None:
        options = inventory.gateway
        if not isinstance(options, Nginx):
            raise NotStarted(
                f"a gateway of the kind `{options.kind}` is not adopted: drillctl does not edit its config",
                hint="docs/gateway.md shows what its config needs, `drillctl gateway show` what is missing",
                state="nothing was changed",
            )
        self._inventory = inventory
        self._options = options
        self._transports = transports
        self._hosts = {host.name: NginxHost(options, transports[host.name], RUN_ID) for host in options.hosts}
        self._everywhere = GatewayHosts(inventory, self._hosts).everywhere

    def plan(self) -> dict[str, HostPlan]:
        """Return what adopting would change on each host. Raises when a config cannot be adopted; changes nothing."""
        zones = (self._inventory.zone("primary"), self._inventory.zone("standby"))
        primary, standby = (configured_zone.addresses(self._inventory, zone) for zone in zones)

        def plan(host: NginxHost) -> HostPlan:
            config = host.read()
            # Where no installed program shows the other files, an administrator makes the change, and knows them.
            read = host.files_read() if host.shows_files else ()
            http = http_level(file.content for file in read if file.content != config.content)
            try:
                content = adopt(config.content, self._options, primary, standby, http)
            except GatewayError as error:
                raise GatewayError(
                    f"{config.path}: {error.message}", host=host.name, hint=error.hint, state="nothing was changed"
                ) from None
            sums = self._sums(host.name, config)
            if content != config.content and sums is not None and config.sha256 not in sums:
                raise GatewayError(
                    f"{config.path} was adopted before and changed since; its original is kept in {kept(config)}",
                    host=host.name,
                    hint="remove that file if the original is not wanted any more",
                    state="nothing was changed",
                )
            return HostPlan(config, content, diff(config.content, content, config.path), sums)

        return self._everywhere(plan)

    def plan_undo(self) -> dict[str, HostPlan]:
        """Return what putting the originals back would change. Raises when one was changed since; changes nothing."""

        def plan(host: NginxHost) -> HostPlan:
            config = host.read()
            sums = self._sums(host.name, config)
            if sums is None:
                return HostPlan(config, config.content, "", None)
            if config.sha256 not in sums:
                raise GatewayError(
                    f"{config.path} was changed since it was adopted",
                    host=host.name,
                    hint=f"its original is {kept(config)}: put back by hand what you want of it",
                    state="nothing was changed",
                )
            content = self._transports[host.name].read_file(kept(config), privileged=True)
            if hashlib.sha256(content).hexdigest() != sums[0]:
                raise GatewayError(
                    f"{kept(config)} is not the original any more", host=host.name, state="nothing was changed"
                )
            return HostPlan(config, content, diff(config.content, content, config.path), sums)

        return self._everywhere(plan)

    def carry_out(self, plans: Mapping[str, HostPlan]) -> None:
        """Put what was planned in place, keep the originals, and prove that it is in force and answers as before.

        When that is not so, the config from before is put back. Raises GatewayError or HostError.
        """
        self._check_free()
        changing = {name: one for name, one in plans.items() if one.changes}
        try:
            for name, one in changing.items():
                self._keep(name, one)
            self._replace(plans)
        except DrillctlError:
            for name, one in changing.items():
                # What cannot be undone now is left as it is: it is better kept for nothing than lost.
                with contextlib.suppress(DrillctlError):
                    self._keep_no_more(name, one)
            raise

    def undo(self, plans: Mapping[str, HostPlan]) -> None:
        """Put the originals back, prove that they are in force and answer as before, and forget them."""
        self._check_free()
        self._replace(plans)
        for name, one in plans.items():
            if one.sums is not None:
                self._script(name, "forgetting the original", _FORGET, kept(one.config))

    def _replace(self, plans: Mapping[str, HostPlan]) -> None:
        changing = [name for name, one in plans.items() if one.changes]
        if not changing:
            return
        self._check_no_flag()
        staged: dict[str, StagedHost] = {}

        def stage(host: NginxHost) -> None:
            one = plans[host.name]
            staged[host.name] = host.stage_content(one.config, one.content, "adopted.candidate")

        def put(host: NginxHost) -> None:
            host.prove_applied(host.activate(staged[host.name]), WITHIN)
            zone = answering[host.name]
            if zone is not None:
                data_path.prove(self._inventory, self._transports[host.name], addresses[host.name], zone, WITHIN)

        def put_back(host: NginxHost) -> None:
            before = plans[host.name].config
            host.prove_applied(host.restore(before, [hashlib.sha256(plans[host.name].content).hexdigest()]), WITHIN)

        def ask(host: NginxHost) -> str | None:
            return data_path.answer(self._inventory, self._transports[host.name], addresses[host.name], 5.0)

        addresses = {host.name: host.address for host in self._options.hosts}
        answering = self._everywhere(ask, changing)
        try:
            self._everywhere(stage, changing)
        except DrillctlError:
            self._everywhere(lambda host: host.discard(staged[host.name]), list(staged))
            raise
        try:
            self._everywhere(put, changing)
        except DrillctlError as error:
            try:
                self._everywhere(put_back, changing)
            except DrillctlError as failed:
                where = f"{failed.host}: " if failed.host else ""
                error.state = f"the config from before could NOT be put back everywhere ({where}{failed.message})"
                error.hint = "where it is not back, `drillctl gateway adopt --undo` puts the original in place"
            else:
                error.state = "the config from before is back, and in force"
            raise

    def _keep(self, name: str, one: HostPlan) -> None:
        adopted = hashlib.sha256(one.content).hexdigest()
        if one.sums is not None:  # what is adopted again has an original already
            self._script(name, "noting what is adopted", _NOTE, kept(one.config), f"{one.sums[0]} {adopted}")
            return
        sums = f"{one.config.sha256} {adopted}"
        self._script(name, "keeping the original", _KEEP, one.config.resolved, kept(one.config), sums)

    def _keep_no_more(self, name: str, one: HostPlan) -> None:
        """Take back what was kept or noted for a change that failed, if the config from before is what is in place."""
        if self._hosts[name].read().sha256 != one.config.sha256:
            return
        if one.sums is None:
            self._script(name, "forgetting the original", _FORGET, kept(one.config))
        else:
            self._script(name, "noting what is adopted", _NOTE, kept(one.config), " ".join(one.sums))

    def _sums(self, name: str, config: HostConfig) -> tuple[str, str] | None:
        words = self._script(name, "looking for a kept original", SUMS, kept(config)).split()
        return (words[0], words[1]) if len(words) == 2 else None

    def _check_no_flag(self) -> None:
        """Raise when a flag is there already: the new config would send clients elsewhere at once."""
        if not isinstance(self._options, NginxFlag):
            return
        flag = self._options.flag_file
        for host in self._options.hosts:
            found = self._script(host.name, "looking for the flag", flags.LOOK, flag, str(flags.MOST_BYTES))
            if found != "absent":
                raise GatewayError(
                    f"{flag} is there: with the change, clients would go from one zone to the other",
                    host=host.name,
                    hint="send clients to the primary first",
                    state="nothing was changed",
                )

    def _check_free(self) -> None:
        for host in self._options.hosts:
            holding = GuardClient(self._transports[host.name]).show()
            if holding.state != "free":
                raise NotStarted(
                    f"a drill holds the lease: {holding.run}, by {holding.owner}",
                    host=host.name,
                    hint="wait for its end, or see `drillctl lease show`",
                    state="nothing was changed",
                )

    def _script(self, name: str, called: str, source: str, *arguments: str) -> str:
        return self._transports[name].script(called, source, *arguments, privileged=True).text


def kept(config: HostConfig) -> str:
    """Return where a host's original is kept."""
    return kept_of(config.resolved)


def kept_of(path: str) -> str:
    """Return where the original of a config is kept: beside the live file, where no include pattern finds it."""
    return join(dirname(path), f".drillctl-adopted-{basename(path)}")
