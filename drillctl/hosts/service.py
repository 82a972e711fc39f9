"""The service on one host: is it running, start it, stop it, kill it so that it stays dead, and the way back."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from drillctl.errors import CommandFailed

if TYPE_CHECKING:
    from drillctl.hosts.transport import Completed, Transport
    from drillctl.inventory import Host, Inventory


ServiceAction = Literal["start", "stop", "kill", "revive"]


@dataclass(frozen=True)
class ServiceState:
    """What a host says of its service.

    `held` means that drillctl keeps its supervisor from restarting it; `coming`, that the supervisor is about to start
    it, or waits to: nothing may run yet, but it has not ended.
    """

    running: bool
    pids: tuple[int, ...]
    held: bool
    detail: str
    coming: bool = False


@dataclass(frozen=True)
class Killed:
    """The proof of a kill, gathered on the host itself.

    `pids` got SIGKILL; `remaining` are those still there; `port_open` tells whether something still listens;
    `seconds` is from the signal to the proof.
    """

    pids: tuple[int, ...]
    remaining: tuple[int, ...]
    port_open: bool
    seconds: float

    @property
    def proven(self) -> bool:
        """Tell whether there was something to kill, and it is gone."""
        return bool(self.pids) and not self.remaining and not self.port_open


class ServiceManager(ABC):
    """The service on one host. Methods raise HostError; all are safe to repeat."""

    host: str

    @abstractmethod
    def state(self) -> ServiceState:
        """Return what is running now."""

    @abstractmethod
    def start(self) -> None:
        """Start the service when it is not running; return when it was started, not when it is ready."""

    @abstractmethod
    def stop(self) -> None:
        """Stop the service with SIGTERM and wait for its end; after the grace period SIGKILL."""

    @abstractmethod
    def kill(self) -> Killed:
        """SIGKILL every process of the service and keep its supervisor from restarting it."""

    @abstractmethod
    def revive(self, *, restart: bool = False) -> None:
        """Undo a fault: let the supervisor work again, and start the service.

        `restart`: what runs may have been started with the fault, so it is restarted where the fault is still marked.
        """

    @abstractmethod
    def last_words(self, lines: int = 20) -> str:
        """Return the end of the service's log, for the message when it does not become ready."""


def manager_of(inventory: Inventory, host: Host, transport: Transport) -> ServiceManager:
    """Return the manager of a host's service, of the kind that the inventory names."""
    from drillctl.hosts.process import ProcessService
    from drillctl.hosts.systemd import SystemdService
    from drillctl.inventory import SystemdStart

    start = inventory.service.start
    if isinstance(start, SystemdStart):
        return SystemdService(transport, start.unit, inventory.port(host))
    return ProcessService(
        transport,
        start,
        port=inventory.port(host),
        environment=inventory.environment_of(host),
        pidfile=host.pidfile or start.pidfile or "",
        log=host.log or start.log,
    )


def commands_of(inventory: Inventory, host: Host, action: ServiceAction) -> tuple[str, ...]:
    """Return the command lines of an action on a host's service, as a plan shows them (pure)."""
    from drillctl.hosts import process, systemd
    from drillctl.inventory import SystemdStart

    start = inventory.service.start
    if isinstance(start, SystemdStart):
        return systemd.commands(start.unit, action)
    return process.commands(start, host.pidfile or start.pidfile or "", action)


LISTENERS = """
# Set $own to the addresses, as in /proc/net/tcp, at which the processes in $pids listen on $port: another program
# may use the same port of another address.
own=$(
    for p in $pids; do ls -l "/proc/$p/fd" 2>/dev/null; done | sed -n 's/.* socket:\\[\\([0-9]*\\)\\]$/\\1/p' |
    awk -v hex="$(printf ':%04X' "$port")" '
        FILENAME == "-" { held[$1]; next }
        $4 == "0A" && substr($2, length($2) - 4) == hex && $10 in held { print $2 }
    ' - /proc/net/tcp /proc/net/tcp6 2>/dev/null | tr '\\n' ' '
)
"""
"""The beginning of a kill script: notes where the processes listen, before they are gone."""

PROOF = """
# Wait until the processes in $pids are gone and nothing listens in their place ($own; when they listened nowhere,
# nothing at all on $port), at most $limit hundredths of a second.
# By the clock, because a turn of this loop takes longer than it sleeps; /proc/uptime has hundredths (proc(5)).
now() { read -r up _ < /proc/uptime; now=${up%.*}${up#*.}; }
now
until=$((now + limit))
while :; do
    left=
    for p in $pids; do
        # A zombie is dead: its parent has only not collected it yet.
        case $(sed -n 's/^State:[[:space:]]*//p' "/proc/$p/status" 2>/dev/null) in
            ''|Z*|X*) ;;
            *) left="$left $p" ;;
        esac
    done
    open=0
    # State 0A is LISTEN; the local address is the second field.
    awk -v hex="$(printf ':%04X' "$port")" -v own=" $own" '
        $4 == "0A" && (own ~ /[^ ]/ ? index(own, " " $2 " ") : substr($2, length($2) - 4) == hex) { found = 1 }
        END { exit !found }
    ' /proc/net/tcp /proc/net/tcp6 2>/dev/null && open=1
    if [ -z "$left" ] && [ "$open" = 0 ]; then break; fi
    now
    [ "$now" -ge "$until" ] && break
    # Seldom enough to leave the processor to the kernel, which has a large process's memory to give back.
    sleep 0.05
done
echo "killed=$(echo $pids) remaining=$(echo $left) open=$open"
"""
"""The end of a kill script: proves on the host that the processes are gone and the port is closed."""


def parse_proof(done: Completed, host: str) -> Killed:
    """Read what a kill script that ends with PROOF said. Raises CommandFailed when that is no proof."""
    match = re.search(r"killed=([\d ]*) remaining=([\d ]*) open=([01])\s*$", done.text)
    if match is None:
        raise CommandFailed(f"the kill said `{done.text[-200:]}`, which is no proof", host=host)
    pids, remaining = (tuple(int(pid) for pid in match[group].split()) for group in (1, 2))
    return Killed(pids, remaining, match[3] == "1", done.seconds)
