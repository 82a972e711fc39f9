"""Gateways whose config stays as it is, and that are switched by a choice beside it: a flag, or states at run time."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from drillctl.gateway import data_path
from drillctl.gateway.gateway import Activation, Gateway
from drillctl.gateway.hosts import GatewayHosts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from drillctl.gateway.gateway import ActivatedHost, GatewayConfig, HostConfig, Staged, StagedHost
    from drillctl.hosts.transport import Transport
    from drillctl.inventory import Inventory


class ChoosingHost(Protocol):
    """The choice on one host."""

    name: str
    address: str
    transport: Transport

    def activate(self, staged: StagedHost) -> ActivatedHost:
        """Make the staged choice, unless somebody else made another one since."""

    def restore(self, original: HostConfig, over: Collection[str]) -> ActivatedHost:
        """Make the choice what it was, unless it is neither that nor one of `over`."""

    def check(self, sha256: str) -> None:
        """Raise GatewayError unless the choice is the one of that hash."""

    def discard(self) -> None:
        """Forget what was staged."""


H = TypeVar("H", bound=ChoosingHost)


class ChoosingGateway(Gateway, Generic[H]):
    """What such gateways have in common; `read` and `stage` are each one's own."""

    def __init__(self, inventory: Inventory, hosts: Mapping[str, H]) -> None:
        self._inventory = inventory
        self._everywhere = GatewayHosts(inventory, hosts).everywhere
        self._ours: set[str] = set()
        """The sha256 sums of the choices that this object made; `restore` may therefore replace them."""

    @abstractmethod
    def zone_of(self, config: HostConfig) -> str | None:
        """Return the zone to which a host's choice sends clients; None when that is no single one."""

    def activate(self, staged: Staged) -> Activation:
        hosts = {host.host: host for host in staged.hosts}
        self._ours.update(host.sha256 for host in staged.hosts)
        done = self._everywhere(lambda host: host.activate(hosts[host.name]))
        return Activation(staged.zone, tuple(done.values()))

    def prove_applied(self, activation: Activation, timeout: float) -> None:
        hosts = {host.host: host for host in activation.hosts}
        zone = activation.zone

        def prove(host: H) -> None:
            host.check(hosts[host.name].sha256)
            if zone is not None:
                data_path.prove(self._inventory, host.transport, host.address, zone, timeout)

        self._everywhere(prove)

    def check_path(self, zone: str) -> tuple[str, ...]:
        own = self._everywhere(lambda host: data_path.check(self._inventory, host.transport, host.address, zone))
        return tuple(name for name, alone in own.items() if not alone)

    def restore(self, original: GatewayConfig, *, over: Collection[str] = ()) -> Activation:
        ours = self._ours | set(over)
        done = self._everywhere(lambda host: host.restore(original.host(host.name), ours))
        zones = {self.zone_of(config) for config in original.hosts}
        return Activation(zones.pop() if len(zones) == 1 else None, tuple(done.values()))

    def discard(self, staged: Staged) -> None:
        self._everywhere(lambda host: host.discard(), only=[host.host for host in staged.hosts])
