"""nginx that fails over by itself, to servers with `backup`: nothing is switched, drills only break and measure.

`read` judges the config, `stage` refuses one of whose traps clients would notice (`traps`, pure); what a drill then
does is wait until the wanted zone answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.errors import GatewayError
from drillctl.gateway import access_log, configured_zone, data_path
from drillctl.gateway.gateway import (
    AccessMark,
    ActivatedHost,
    Activation,
    Gateway,
    GatewayConfig,
    Served,
    Staged,
    StagedHost,
)
from drillctl.gateway.hosts import GatewayHosts
from drillctl.gateway.nginx_config import normalised, read_upstream
from drillctl.gateway.nginx_host import NginxHost
from drillctl.gateway.passive_traps import traps

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from drillctl.gateway.gateway import HostConfig
    from drillctl.hosts.transport import Transport
    from drillctl.inventory import Inventory, NginxPassive, Role


class PassiveGateway(Gateway):
    """All nginx hosts of an inventory whose gateway is of the kind `nginx-passive`. It changes nothing, ever."""

    def __init__(
        self, inventory: Inventory, options: NginxPassive, transports: Mapping[str, Transport], run_id: str
    ) -> None:
        self._inventory = inventory
        self._options = options
        self._transports = transports
        hosts = {host.name: NginxHost(options, transports[host.name], run_id) for host in options.hosts}
        self._everywhere = GatewayHosts(inventory, hosts).everywhere

    def read(self) -> GatewayConfig:
        configs = tuple(self._everywhere(lambda host: host.read()).values())
        reasons = [f"{config.host}: {why}" for config in configs if (why := self._wrong_servers(config))]
        primary = self._inventory.zone("primary").name
        return GatewayConfig(configs, None if reasons else primary, "; ".join(reasons) or None)

    def test(self) -> Mapping[str, str]:
        """Test the live config, and refuse one with a trap that makes clients notice a failover, or wait for it."""

        def test(host: NginxHost) -> str:
            found = traps(host.read().content, self._options.upstream)
            if found:
                raise GatewayError(
                    "nginx would not fail over as it should: " + "; ".join(found),
                    host=host.name,
                    state="nothing was changed",
                    hint="`drillctl gateway adopt` mends the config, and shows what it would change first",
                )
            return host.test()

        return self._everywhere(test)

    def places(self) -> Mapping[str, tuple[str, ...]]:
        return {host.name: () for host in self._options.hosts}

    def stage(self, zone: str) -> Staged:
        tested = self.test()
        configs = self._everywhere(lambda host: host.read())
        return Staged(
            zone,
            tuple(
                StagedHost(
                    host=name,
                    live=config.resolved,
                    content=config.content,
                    sha256=config.sha256,
                    original_sha256=config.sha256,
                    diff="",
                    tested=tested[name],
                )
                for name, config in configs.items()
            ),
        )

    def activate(self, staged: Staged) -> Activation:
        return Activation(staged.zone, tuple(ActivatedHost(host.host, host.sha256) for host in staged.hosts))

    def prove_applied(self, activation: Activation, timeout: float) -> None:
        """Return once the zone answers through every host: nginx has gone over, or back, by itself."""
        zone = activation.zone
        if zone is None:
            return
        addresses = {host.name: host.address for host in self._options.hosts}

        def prove(host: NginxHost) -> None:
            data_path.prove(self._inventory, self._transports[host.name], addresses[host.name], zone, timeout)

        self._everywhere(prove)

    def check_path(self, zone: str) -> tuple[str, ...]:
        addresses = {host.name: host.address for host in self._options.hosts}

        def check(host: NginxHost) -> bool:
            return data_path.check(self._inventory, self._transports[host.name], addresses[host.name], zone)

        return tuple(name for name, alone in self._everywhere(check).items() if not alone)

    def restore(self, original: GatewayConfig, *, over: Collection[str] = ()) -> Activation:
        del over  # nothing was put in place that could be replaced

        def check(host: NginxHost) -> ActivatedHost:
            was, now = original.host(host.name), host.read()
            if now.sha256 != was.sha256:
                raise GatewayError(
                    f"someone changed {was.resolved} during the drill, which does not touch it",
                    host=host.name,
                    state="their version was left in place",
                )
            return ActivatedHost(host.name, now.sha256)

        done = self._everywhere(check)
        return Activation(self._inventory.zone("primary").name, tuple(done.values()))

    def discard(self, staged: Staged) -> None:
        """Do nothing: nothing is staged."""

    def access_mark(self) -> AccessMark:
        return AccessMark(self._everywhere(lambda host: host.access_mark()))

    def served_since(self, mark: AccessMark) -> Served:
        zones = self._inventory.zones
        addresses = [address for zone in zones for address in configured_zone.addresses(self._inventory, zone)]
        parts = self._everywhere(lambda host: host.served_since(mark.positions[host.name], addresses))
        return access_log.total(tuple(parts.values()))

    def _wrong_servers(self, config: HostConfig) -> str | None:
        servers = read_upstream(config.content, self._options.upstream)
        roles: tuple[tuple[Role, bool], ...] = (("primary", False), ("standby", True))
        for role, backup in roles:
            zone = self._inventory.zone(role)
            there = {normalised(s.address) for s in servers if s.state == "enabled" and s.backup == backup}
            if there != {normalised(address) for address in configured_zone.addresses(self._inventory, zone)}:
                named = ", ".join(sorted(there)) or "none"
                return f"its {'`backup` ' if backup else ''}servers are {named}, not those of {zone.name}"
        return None
