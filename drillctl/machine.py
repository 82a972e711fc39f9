"""What a machine is, for the record of a drill: its system, its software, and how far its clock is from ours."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drillctl.errors import HostError

if TYPE_CHECKING:
    from drillctl.hosts.transport import Transport

CLOCK_READINGS = 3
"""How often a clock is read; the reading with the shortest round trip counts."""

_LOOK = r"""
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
printf 'system=%s\n' "$(sed -n 's/^PRETTY_NAME=//p' /etc/os-release 2>/dev/null | tr -d '"')"
printf 'kernel=%s\n' "$(uname -srm)"
printf 'machine_id=%s\n' "$(cat /etc/machine-id 2>/dev/null)"
printf 'boot_id=%s\n' "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
for program in "$@"; do
    command -v "$program" >/dev/null || continue
    printf 'software.%s=%s\n' "$program" "$("$program" -v 2>&1 </dev/null | sed -n '1s/^[a-z]* version:* *//p;1q')"
done
"""


@dataclass(frozen=True)
class Machine:
    """One host as it says of itself; what it did not say is None, and `problem` why it could not be asked.

    `clock_offset` is by how many seconds its wall clock is ahead of ours, known to within `clock_error` seconds: half
    the round trip of asking.
    """

    name: str
    system: str | None = None
    kernel: str | None = None
    machine_id: str | None = None
    boot_id: str | None = None
    host_key: str | None = None
    software: dict[str, str] = field(default_factory=dict)
    clock_offset: float | None = None
    clock_error: float | None = None
    problem: str | None = None


def look(transport: Transport, *programs: str) -> Machine:
    """Ask a host what it is, and the version of programs that it may have. Its trouble is in the result, not raised."""
    try:
        transport.warm(CLOCK_READINGS + 1)
        text = transport.script("asking what the machine is", _LOOK, *programs).text
        facts = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        offset, error = _clock(transport)
        return Machine(
            name=transport.host,
            system=facts.get("system") or None,
            kernel=facts.get("kernel") or None,
            machine_id=facts.get("machine_id") or None,
            boot_id=facts.get("boot_id") or None,
            host_key=transport.host_key(),
            software={k.removeprefix("software."): v for k, v in facts.items() if k.startswith("software.")},
            clock_offset=offset,
            clock_error=error,
        )
    except HostError as error:
        return Machine(name=transport.host, problem=error.message)


def _clock(transport: Transport) -> tuple[float | None, float | None]:
    """Return by how much the host's wall clock is ahead of ours, and how far that can be wrong, in seconds.

    Every reading is taken, also when one is of no use: the channels that were prepared for them are used up.
    """
    readings: list[tuple[float, float, str]] = []
    for _ in range(CLOCK_READINGS):
        asked, began = time.time(), time.monotonic()
        text = transport.run(["date", "+%s.%N"]).text
        error = (time.monotonic() - began) / 2
        readings.append((error, asked + error, text))
    error, ours, text = min(readings)
    try:
        return float(text) - ours, error
    except ValueError:  # a `date` that knows no nanoseconds
        return None, None
