"""Rebooting a machine of the lab, from outside."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from drillctl.lab import machines, place

if TYPE_CHECKING:
    from drillctl.lab import Lab


def reboot(lab: Lab, host: str, within: float = 30) -> None:
    """Reboot a machine; return once another systemd has begun in it. Raises TimeoutError when none has.

    Nothing may go into it meanwhile. As it shuts down it stops every process; an nsenter whose command is stopped
    stops itself, for ever, and systemd-shutdown waits for the command for 90 s.
    """
    before = machines.leader(place.ledger(), host)
    subprocess.run(
        lab.root_command(host, ["systemctl", "--no-block", "reboot"]), capture_output=True, check=False, timeout=within
    )
    deadline = time.monotonic() + within
    while machines.leader(place.ledger(), host) in {before, None}:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{host} is not up {within:g} s after its reboot")
        time.sleep(0.02)
