"""nginx as the gateway: the named upstream is edited in the user's own file, and nginx is reloaded.

Every host is read, staged, switched and proven by itself (`nginx_host.py`), all of them in parallel; this file joins
the results and the errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.errors import DrillctlError, GatewayError
from drillctl.gateway import access_log, configured_zone
from drillctl.gateway.gateway import AccessMark, Activation, Gateway, GatewayConfig, Served, Staged
from drillctl.gateway.hosts import GatewayHosts
from drillctl.gateway.nginx_config import read_upstream
from drillctl.gateway.nginx_host import NginxHost

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from drillctl.gateway.gateway import StagedHost
    from drillctl.hosts.transport import Transport
    from drillctl.inventory import Inventory, NginxReload


class NginxGateway(Gateway):
    """All nginx hosts of an inventory. `run_id` names the staged files, so that two runs never meet."""

    def __init__(
        self, inventory: Inventory, options: NginxReload, transports: Mapping[str, Transport], run_id: str
    ) -> None:
        self._inventory = inventory
        self._options = options
        hosts = {host.name: NginxHost(options, transports[host.name], run_id) for host in options.hosts}
        self._everywhere = GatewayHosts(inventory, hosts).everywhere
        self._activated: set[str] = set()
        """sha256 sums of what this gateway object put in place, which `restore` may therefore replace."""

    def read(self) -> GatewayConfig:
        configs = tuple(self._everywhere(lambda host: host.read()).values())
        zone, reason = configured_zone.of_hosts(self._inventory, configs)
        return GatewayConfig(configs, zone, reason)

    def test(self) -> Mapping[str, str]:
        return self._everywhere(lambda host: host.test())

    def places(self) -> Mapping[str, tuple[str, ...]]:
        return self._everywhere(lambda host: host.places())

    def stage(self, zone: str) -> Staged:
        zones = {z.name: configured_zone.addresses(self._inventory, z) for z in self._inventory.zones}
        if zone not in zones:
            raise GatewayError(f"there is no zone `{zone}`; there are: {', '.join(zones)}")
        enable = zones[zone]
        disable = [address for name, addresses in zones.items() if name != zone for address in addresses]
        made: list[StagedHost] = []

        def stage(host: NginxHost) -> StagedHost:
            staged = host.stage(zone, enable, disable)
            made.append(staged)
            self._check_zone(staged, zone)
            return staged

        try:
            staged = self._everywhere(stage)
        except DrillctlError:
            self.discard(Staged(zone, tuple(made)))
            raise
        return Staged(zone, tuple(staged.values()))

    def activate(self, staged: Staged) -> Activation:
        hosts = {host.host: host for host in staged.hosts}
        self._activated.update(host.sha256 for host in staged.hosts)
        done = self._everywhere(lambda host: host.activate(hosts[host.name]))
        return Activation(staged.zone, tuple(done.values()))

    def prove_applied(self, activation: Activation, timeout: float) -> None:
        hosts = {host.host: host for host in activation.hosts}
        self._everywhere(lambda host: host.prove_applied(hosts[host.name], timeout))

    def restore(self, original: GatewayConfig, *, over: Collection[str] = ()) -> Activation:
        ours = self._activated | set(over)
        done = self._everywhere(lambda host: host.restore(original.host(host.name), ours))
        return Activation(original.configured_zone, tuple(done.values()))

    def discard(self, staged: Staged) -> None:
        hosts = {host.host: host for host in staged.hosts}
        self._everywhere(lambda host: host.discard(hosts[host.name]), only=hosts)

    def access_mark(self) -> AccessMark:
        return AccessMark(self._everywhere(lambda host: host.access_mark()))

    def served_since(self, mark: AccessMark) -> Served:
        zones = self._inventory.zones
        addresses = [address for zone in zones for address in configured_zone.addresses(self._inventory, zone)]
        parts = self._everywhere(lambda host: host.served_since(mark.positions[host.name], addresses))
        return access_log.total(tuple(parts.values()))

    def _check_zone(self, staged: StagedHost, zone: str) -> None:
        """Raise when the candidate also sends clients to a server of no zone."""
        servers = read_upstream(staged.content, self._options.upstream)
        configured, reason = configured_zone.of_servers(self._inventory, servers)
        if configured != zone:
            raise GatewayError(
                f"the upstream would not be that of {zone} alone: {reason}",
                host=staged.host,
                hint="comment out servers of no zone, or name them in the inventory",
                state="nothing was changed",
            )
