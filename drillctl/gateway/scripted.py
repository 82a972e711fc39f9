"""The gateway in memory: real config editing, no host. For tests of what is built upon a gateway."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from drillctl.errors import DrillctlError, GatewayError
from drillctl.gateway import configured_zone
from drillctl.gateway.gateway import (
    AccessMark,
    ActivatedHost,
    Activation,
    Gateway,
    GatewayConfig,
    HostConfig,
    LogPosition,
    Served,
    Staged,
    StagedHost,
)
from drillctl.gateway.nginx_config import diff, read_upstream, select
from drillctl.inventory import NginxReload

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from drillctl.inventory import Inventory

Method = Literal["read", "test", "places", "stage", "activate", "prove_applied", "restore", "discard", "served_since"]

_FIRST_PID = 100


class ScriptedGateway(Gateway):
    """A gateway whose hosts all have the config `content`.

    `calls` lists what was asked of it, in order. `fail[METHOD] = error` makes a method raise, with nothing done.
    `applies = False` makes it behave like an nginx that cannot apply a config: files change, exit codes are 0, and
    the workers go by the config before. `in_force` has what the workers go by; `answer` lets requests be answered.
    """

    def __init__(self, inventory: Inventory, content: bytes) -> None:
        names = [host.name for host in inventory.gateway.hosts]
        if not isinstance(inventory.gateway, NginxReload):
            raise TypeError("the gateway in memory is one of the kind `nginx`")
        self.inventory = inventory
        self._upstream = inventory.gateway.upstream
        self.files = dict.fromkeys(names, content)
        self.in_force = dict.fromkeys(names, content)
        self.staged: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.fail: dict[Method, DrillctlError] = {}
        self.applies = True
        self._known: set[str] = set()
        self._pids = dict.fromkeys(names, _FIRST_PID)
        self._answers: list[str] = []

    def answer(self, requests: int) -> None:
        """Let clients ask: each request goes to the first server that is enabled in what is in force."""
        content = next(iter(self.in_force.values()))
        servers = read_upstream(content, self._upstream)
        serving = next(server.address for server in servers if server.state == "enabled")
        self._answers.extend([serving] * requests)

    def read(self) -> GatewayConfig:
        self._called("read")
        configs = tuple(self._config(name) for name in self.files)
        zone, reason = configured_zone.of_hosts(self.inventory, configs)
        return GatewayConfig(configs, zone, reason)

    def test(self) -> Mapping[str, str]:
        self._called("test")
        return dict.fromkeys(self.files, "syntax is ok")

    def places(self) -> Mapping[str, tuple[str, ...]]:
        self._called("places")
        return {name: (f"/staged/.drillctl-{name}",) for name in self.files}

    def stage(self, zone: str) -> Staged:
        self._called("stage")
        zones = {z.name: configured_zone.addresses(self.inventory, z) for z in self.inventory.zones}
        enable = zones.pop(zone)
        disable = [address for addresses in zones.values() for address in addresses]
        hosts = []
        for name, content in self.files.items():
            candidate = select(content, self._upstream, enable, disable)
            path = self.inventory.gateway.config
            self.staged[name] = candidate
            hosts.append(
                StagedHost(
                    host=name,
                    live=path,
                    content=candidate,
                    sha256=_sha256(candidate),
                    original_sha256=_sha256(content),
                    diff=diff(content, candidate, path),
                    tested="syntax is ok",
                )
            )
        return Staged(zone, tuple(hosts))

    def activate(self, staged: Staged) -> Activation:
        self._called("activate")
        for host in staged.hosts:
            if self.staged.get(host.host) != host.content:
                raise GatewayError("the candidate is not staged", host=host.host, state="nothing was changed")
            if _sha256(self.files[host.host]) != host.original_sha256:
                raise GatewayError("someone changed it after it was read", host=host.host, state="nothing was changed")
        self._known.update(host.sha256 for host in staged.hosts)
        done = tuple(self._put(host.host, self.staged.pop(host.host)) for host in staged.hosts)
        return Activation(staged.zone, done)

    def prove_applied(self, activation: Activation, timeout: float) -> None:
        self._called("prove_applied")
        for host in activation.hosts:
            if _sha256(self.in_force[host.host]) != host.sha256:
                raise GatewayError(
                    f"the config is not in force {timeout:g} s after the reload: no new worker was started",
                    host=host.host,
                    state="the new config file is in place; the workers still go by the one before",
                )

    def restore(self, original: GatewayConfig, *, over: Collection[str] = ()) -> Activation:
        self._called("restore")
        done = []
        for config in original.hosts:
            now = _sha256(self.files[config.host])
            if now not in {config.sha256, *self._known, *over}:
                raise GatewayError("someone changed it during the drill", host=config.host, state="left in place")
            if self.files[config.host] == self.in_force[config.host] == config.content:
                done.append(replace(self._activated(config.host), reloaded=False))
            else:
                done.append(self._put(config.host, config.content))
        return Activation(original.configured_zone, tuple(done))

    def discard(self, staged: Staged) -> None:
        self._called("discard")
        for host in staged.hosts:
            self.staged.pop(host.host, None)

    def access_mark(self) -> AccessMark:
        return AccessMark(dict.fromkeys(self.files, LogPosition(1, len(self._answers))))

    def served_since(self, mark: AccessMark) -> Served:
        self._called("served_since")
        since = next(iter(mark.positions.values())).size
        answers = self._answers[since:]
        return Served(len(answers), dict(Counter(answers)))

    def _called(self, method: Method) -> None:
        self.calls.append(method)
        if method in self.fail:
            raise self.fail[method]

    def _config(self, name: str) -> HostConfig:
        content, path = self.files[name], self.inventory.gateway.config
        servers = read_upstream(content, self._upstream)
        return HostConfig(name, path, path, content, _sha256(content), 0o644, "0:0", servers)

    def _put(self, name: str, content: bytes) -> ActivatedHost:
        self.files[name] = content
        before = self._pids[name]
        if self.applies:
            self.in_force[name] = content
            self._pids[name] += 1
        return replace(self._activated(name), before=(before,))

    def _activated(self, name: str) -> ActivatedHost:
        pids = (self._pids[name],)
        return ActivatedHost(
            host=name,
            sha256=_sha256(self.files[name]),
            master=(1, 1),
            before=pids,
            after=pids,
            error_log=LogPosition(1, 0),
            reloaded=True,
        )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
