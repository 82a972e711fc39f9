"""Which class drives a gateway of which kind, and what each kind does, in words for a plan."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from drillctl.inventory import Haproxy, NginxFlag, NginxPassive

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drillctl.gateway.gateway import Gateway
    from drillctl.hosts.transport import Transport
    from drillctl.inventory import Inventory


def gateway_of(inventory: Inventory, transports: Mapping[str, Transport], run_id: str) -> Gateway:
    """Return the gateway that an inventory describes; `run_id` names what it stages, so that two runs never meet."""
    options = inventory.gateway
    if isinstance(options, NginxFlag):
        from drillctl.gateway.nginx_flag import FlagGateway

        return FlagGateway(inventory, options, transports, run_id)
    if isinstance(options, NginxPassive):
        from drillctl.gateway.nginx_passive import PassiveGateway

        return PassiveGateway(inventory, options, transports, run_id)
    if isinstance(options, Haproxy):
        from drillctl.gateway.haproxy import HaproxyGateway

        return HaproxyGateway(inventory, options, transports, run_id)
    from drillctl.gateway.nginx import NginxGateway

    return NginxGateway(inventory, options, transports, run_id)


@dataclass(frozen=True)
class Words:
    """What a kind of gateway does on each of its hosts; None: nothing. `names` is what its config calls the target."""

    read: str
    stage: str | None
    switch: str
    undo: str | None
    restore: str
    names: str


def words(inventory: Inventory, zone: str) -> Words:
    """Return what is done to send clients to a zone, and to put that back."""
    options = inventory.gateway
    read = f"read {options.config}"
    if isinstance(options, Haproxy):
        return Words(
            read=f"{read}, and ask {options.socket} for the servers' states",
            stage=f"check {options.config} and the servers' states",
            switch=f"by {options.socket}: the servers of {zone} ready, the others maint; {options.state_file} to match",
            undo=f"the servers' states as before, {options.state_file} as before",
            restore=f"by {options.socket}: the servers' states as before; {options.state_file} as before",
            names=f"backend {options.backend}",
        )
    if isinstance(options, NginxFlag):
        standby = zone == inventory.home("standby").name
        return Words(
            read=f"{read}, and look for {options.flag_file}",
            stage=f"write the flag beside {options.flag_file}, and test the config: {shlex.join(options.test)}",
            switch=f"set {options.flag_file}: nginx looks for it at every request"
            if standby
            else f"remove {options.flag_file}",
            undo=f"{options.flag_file} as before",
            restore=f"{options.flag_file} as before",
            names=f"upstream {options.upstream}",
        )
    if isinstance(options, NginxPassive):
        return Words(
            read=read,
            stage=None,
            switch=f"nothing: nginx goes over to the backup servers of {options.upstream} by itself",
            undo=None,
            restore=f"nothing: nginx goes back by itself once the primary's servers of {options.upstream} answer",
            names=f"upstream {options.upstream}",
        )
    config, reload = PurePosixPath(options.config), shlex.join(options.reload)
    return Words(
        read=read,
        stage=f"stage the standby's {config.name} beside {config}, and test it: {shlex.join(options.test)}",
        switch=f"rename the staged config over {config} (upstream {options.upstream} → {zone}); {reload}",
        undo=f"put the original bytes back; {reload}",
        restore=f"put the original bytes of {config} back; {reload}",
        names=f"upstream {options.upstream}",
    )
