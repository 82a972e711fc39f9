"""Every way to lose a zone: one file per family of faults, each with check, inject, prove and undo."""

from __future__ import annotations

from drillctl.faults.command import Command
from drillctl.faults.disk_full import DiskFull
from drillctl.faults.fault import Fault, Place
from drillctl.faults.gateway_restart import GatewayRestart
from drillctl.faults.hang import Hang
from drillctl.faults.kill import Kill
from drillctl.faults.model_file import ModelFile
from drillctl.faults.packets import Loss, Partition, Reject
from drillctl.faults.reboot import Reboot
from drillctl.faults.restart import BrokenDependency, CrashLoop, GpuLost
from drillctl.faults.slow import Slow
from drillctl.faults.stop import Stop

AnyFault = (
    Kill
    | Stop
    | Hang
    | CrashLoop
    | Partition
    | Reject
    | Loss
    | Slow
    | DiskFull
    | ModelFile
    | BrokenDependency
    | GpuLost
    | Reboot
    | GatewayRestart
    | Command
)

KINDS: dict[str, type[Fault]] = {kind.model_fields["fault"].annotation.__args__[0]: kind for kind in AnyFault.__args__}
"""Every fault by the word that a playbook uses for it."""

__all__ = ["KINDS", "AnyFault", "Fault", "Place"]
