"""The programs of faults, for the faults that the inventory allows: each for this estate's service and gateway (pure).

`kill` and `stop` need no more than what starts and stops the service. A fault of the user's own (`command`) has no
program: what it runs is in a playbook, which no administrator has seen.
"""

from __future__ import annotations

from posixpath import dirname
from typing import TYPE_CHECKING

from drillctl.faults import disk_full, gateway_restart, hang, model_file, packets, reboot, restart, slow
from drillctl.guard import orders
from drillctl.hosts.systemd import hold_of
from drillctl.privileges.argument import NUMBER, RUN, Argument, exactly
from drillctl.privileges.program import Program, Variant, plain
from drillctl.undo import Undo

if TYPE_CHECKING:
    from drillctl.inventory import Host, Inventory

PACKETS = ("partition", "reject", "loss")
DROP_INS = {
    "crash-loop": restart.CrashLoop.model_construct().drop_in(),
    "broken-dependency": restart.BrokenDependency.model_construct().drop_in(),
    "gpu-lost": restart.GpuLost.model_construct().drop_in(),
}

_TABLE = Argument("drillctl_", "A-Za-z0-9_", called="run")
_TRIAL = Argument("drillctl_", "A-Za-z0-9_", "_try", called="run")
_SECONDS = Argument("", "0-9", called="seconds", most=3)
_SHARE = Argument("", "0-9.", called="seconds", most=6)
_ADDRESS = Argument("", "0-9a-f.:", called="address of drillctl", most=45)


def of_zone_host(inventory: Inventory, host: Host, unit: str) -> list[Program]:
    """Return the programs of the faults that the inventory allows on a zone's host."""
    named, port = (exactly("systemd"), exactly(unit)), exactly(str(inventory.port(host)))
    live = inventory.model_path(host)
    folder, kept = exactly(dirname(live)), model_file.kept_of(live)
    filler = f"{dirname(live)}/.drillctl-filler"
    where, drop_in = exactly(live), exactly(hold_of(unit))
    on_states = Program("fault-states", f"say in which states {unit}'s processes are", hang.STATES, (named,))
    verdicts = (exactly("drop"), exactly("reject"), Argument("loss-", "0-9", called="per mille", most=4))
    gateways = tuple(exactly(gateway.address) for gateway in inventory.gateway.hosts)
    by_fault: dict[str, list[Program]] = {
        "hang": [
            Program("fault-hang", f"stop {unit}'s processes by SIGSTOP", hang.HANG, ((*named, port),)),
            on_states,
        ],
        "slow": [
            Program(
                "fault-slow",
                f"stop and continue {unit}'s processes again and again",
                slow.SLOW,
                ((*named, _token(host), _SHARE, _SHARE, exactly(str(slow.MOST))),),
            )
        ],
        "model": [
            Program(
                "fault-model",
                f"spoil the model file, and restart {unit}",
                model_file.SPOIL,
                ((where, exactly(kept), (exactly("altered"), exactly("deleted")), named[1], drop_in),),
            ),
            plain("fault-model-kept", "say whether the model file is spoilt", ["test", "-e", kept]),
        ],
        "disk-full": [
            Program("fault-disk-free", "say how much is free where the model is", disk_full.FREE, ((folder,),)),
            Program(
                "fault-disk-full",
                "fill the disk where the model is",
                disk_full.FILL,
                ((exactly(filler),),),
            ),
            plain("fault-disk-filled", "say whether the disk is filled", ["test", "-e", filler]),
        ],
        "reboot": [Program("fault-reboot", "reboot the host", reboot.REBOOT)],
    }
    found = [program for fault in inventory.faults for program in by_fault.get(fault, [])]
    texts = tuple(exactly(text) for fault, text in DROP_INS.items() if fault in inventory.faults)
    if texts:
        ways: tuple[Variant, ...] = ((named[1], drop_in, texts),)
        found.append(Program("fault-restart", f"restart {unit} with something wrong", restart.RESTART, ways))
    if set(PACKETS) & set(inventory.faults):
        rest = (_TABLE, port, verdicts)
        found += [
            Program("fault-packets-try", "see whether packets can be filtered", packets.CHECK, ((_TRIAL,),)),
            Program(
                "fault-packets",
                f"drop, refuse or lose packets of {unit}'s port, or drillctl's own",
                packets.INJECT,
                (
                    (*rest, (exactly("gateway"), exactly("clients")), exactly("0"), *gateways),
                    (_TABLE, NUMBER, exactly("drop"), exactly("drillctl"), _SECONDS, _ADDRESS),
                ),
                checks='case $4$5 in drillctl0*) deny "a cut to drillctl must end by itself" ;; esac\n',
            ),
            Program("fault-packets-hits", "count the packets that were hit", packets.HITS, ((_TABLE, exactly("300")),)),
            Program("fault-packets-list", "show the drill's own filter", packets.LISTED, ((_TABLE,),)),
        ]
    return found


def of_gateway(inventory: Inventory) -> list[Program]:
    """Return the programs of the faults that the inventory allows on the gateway."""
    if "gateway-restart" not in inventory.faults:
        return []
    unit = gateway_restart.unit_of(inventory)
    return [Program("fault-gateway-restart", f"restart {unit}", gateway_restart.RESTART, ((exactly(unit),),))]


def undos(inventory: Inventory, host: Host) -> list[Variant]:
    """Return the undos of those faults, kind and arguments, that a host's guard may be given."""

    def order(kind: str, **arguments: str) -> Variant:
        undo = Undo(kind, host.name, "", arguments)  # type: ignore[arg-type]
        return (exactly(kind), *map(exactly, orders.of_zone(inventory, host, undo).arguments))

    allowed = set(inventory.faults)
    if inventory.zone_of(host.name) is None:
        return (
            [order("service.revive", unit=gateway_restart.unit_of(inventory))] if "gateway-restart" in allowed else []
        )
    live = inventory.model_path(host)
    found: list[Variant] = []
    if {"model", *DROP_INS} & allowed:
        found.append(order("service.revive", restart="unless-healthy"))
    if "hang" in allowed:
        found.append(order("service.continue", token=hang.NOTHING))
    if "slow" in allowed:
        found.append((*order("service.continue", token="")[:-1], _token(host)))
    if "model" in allowed:
        found.append(order("file.put-back", live=live, kept=model_file.kept_of(live)))
    if "disk-full" in allowed:
        found.append(order("file.discard", path=f"{dirname(live)}/.drillctl-filler"))
    if set(PACKETS) & allowed:
        found.append((exactly("filter.remove"), _TABLE))
    return found


def watched_paths(inventory: Inventory, host: Host) -> tuple[str, ...]:
    """Return the files by name that root writes for these faults on a host."""
    writes = {"model", "disk-full"} & set(inventory.faults)
    return (inventory.model_path(host),) if writes and inventory.zone_of(host.name) else ()


def _token(host: Host) -> Argument:
    return RUN.within("/tmp/.drillctl-slow-", f"-{host.name}")  # noqa: S108 - made by O_EXCL, so no link is followed
