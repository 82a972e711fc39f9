"""crash-loop, broken-dependency, gpu-lost: the unit is restarted with something wrong, put there by a drop-in of ours.

The drop-in is in /run, so that a reboot undoes it; it is the file that `service.revive` removes.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from drillctl.errors import Inconclusive, NotStarted
from drillctl.faults.fault import Fault, Place, revive_undo
from drillctl.hosts.systemd import hold_of
from drillctl.undo import Undo

if TYPE_CHECKING:
    from drillctl.inventory import Host, Inventory

# $1 unit, $2 drop-in, $3 its content; prints how often systemd had restarted the unit before.
RESTART = """
set -eu
unit=$1 drop_in=$2
systemctl --no-pager show --property=NRestarts --value -- "$unit"
mkdir -p "${drop_in%/*}"
printf '%s' "$3" > "$drop_in"
systemctl daemon-reload
systemctl restart --no-block -- "$unit"
"""

# $1 unit, $2 port, $3 seconds at most: wait until the unit was seen failed, or restarted, and nothing listens.
FAILED = """
unit=$1 port=$2
read -r up _ < /proc/uptime; end=$((${up%.*} + $3))
listens() {
    awk -v hex="$(printf ':%04X' "$port")" '$4 == "0A" && substr($2, length($2) - 4) == hex { found = 1 }
        END { exit !found }' /proc/net/tcp /proc/net/tcp6 2>/dev/null
}
while :; do
    shown=$(systemctl show --property=ActiveState,SubState,NRestarts,Result,ExecMainStatus -- "$unit" | tr '\\n' ' ')
    open=0; listens && open=1
    case $shown in *ActiveState=failed*|*SubState=auto-restart*) [ "$open" = 1 ] || { failed=1; break; } ;; esac
    failed=0
    read -r up _ < /proc/uptime
    [ "${up%.*}" -lt "$end" ] || break
    sleep 0.05
done
echo "failed=$failed open=$open $shown"
"""


LOOK = 2
"""Seconds for which one look of a proof may last: so long is a restore that has begun kept waiting."""


class RestartedWrong(Fault):
    """What the three have in common: a drop-in, a restart, and the proof that no server comes of it."""

    slow_to_prove: ClassVar[bool] = True
    prove_within: ClassVar[int] = 30

    @abstractmethod
    def drop_in(self) -> str:
        """Return the drop-in's text."""

    @abstractmethod
    def words(self) -> str:
        """Return what is wrong, in words."""

    def does(self, inventory: Inventory, host: Host) -> tuple[str, str]:
        unit = getattr(inventory.service.start, "unit", "the service")
        return (
            f"write {hold_of(unit)} ({self.words()}); systemctl restart {unit}",
            f"remove it; systemctl restart {unit}",
        )

    def check(self, place: Place) -> None:
        place.unit  # noqa: B018 - raises where there is none

    def undos(self, place: Place) -> tuple[Undo, ...]:
        return (revive_undo(place, restart=True),)

    def inject(self, place: Place) -> str:
        words = (place.unit, hold_of(place.unit), self.drop_in())
        return place.transport.script(f"restarting {place.unit} with a fault", RESTART, *words, privileged=True).text

    def prove(self, place: Place, said: str) -> str:
        deadline = time.monotonic() + self.prove_within
        while (shown := self._look(place, LOOK)).get("failed") != "1" and time.monotonic() < deadline:
            place.pause(0)
        if shown.get("failed") != "1":
            raise Inconclusive(
                f"the fault is not proven: {place.unit} is {shown.get('ActiveState')} after the restart",
                host=place.host.name,
            )
        return (
            f"{self.words()}: {place.unit} ended with {shown.get('ExecMainStatus')} ({shown.get('Result')}), "
            f"port {place.port} closed"
        )

    def still(self, place: Place) -> None:
        if self._look(place, 5).get("failed") != "1":
            raise Inconclusive(f"{place.unit} runs again: the fault did not last", host=place.host.name)

    def _look(self, place: Place, seconds: int) -> dict[str, str]:
        text = place.transport.script(
            f"looking at {place.unit}", FAILED, place.unit, str(place.port), str(seconds), timeout=seconds + 15
        ).text
        return dict(word.split("=", 1) for word in text.split() if "=" in word)


class CrashLoop(RestartedWrong):
    """Let the unit start and die, again and again, as after a bad configuration."""

    fault: Literal["crash-loop"]

    def drop_in(self) -> str:
        return (
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=300ms\n"
            "ExecStartPre=\nExecStart=\nExecStart=/bin/sh -c 'sleep 0.2; exit 1'\n"
        )

    def words(self) -> str:
        return "it starts and dies, for ever"

    def prove(self, place: Place, said: str) -> str:
        evidence = super().prove(place, said)
        before = int(said.split()[0]) if said.split() and said.split()[0].isdigit() else 0
        restarts = 0
        deadline = time.monotonic() + self.prove_within
        while time.monotonic() < deadline:
            shown = place.transport.run(["systemctl", "show", "--property=NRestarts", "--value", "--", place.unit]).text
            restarts = int(shown) if shown.isdigit() else 0
            # A restart by hand sets the counter back to 0 (systemd.service(5)); both sides of it are seen here.
            if restarts >= 2 and restarts != before:
                return f"{evidence}; restarted {restarts} times so far"
            place.pause(0.2)
        raise Inconclusive(f"the fault is not proven: restarted {restarts} times only", host=place.host.name)


class BrokenDependency(RestartedWrong):
    """Restart the service in an environment whose interpreter cannot start, as after a bad upgrade."""

    fault: Literal["broken-dependency"]

    def drop_in(self) -> str:
        # Python looks for its standard library there, does not find it, and ends before it runs a line (python(1)).
        return '[Service]\nEnvironment="PYTHONHOME=/nonexistent/drillctl"\n'

    def words(self) -> str:
        return "the interpreter's environment is unusable"


class GpuLost(RestartedWrong):
    """Restart the service without its GPU: hidden from it, as after a driver that fell over."""

    fault: Literal["gpu-lost"]

    def drop_in(self) -> str:
        return '[Service]\nEnvironment="CUDA_VISIBLE_DEVICES=" "NVIDIA_VISIBLE_DEVICES=none"\n'

    def words(self) -> str:
        return "no GPU is visible"

    def check(self, place: Place) -> None:
        from drillctl import survey

        super().check(place)
        path = place.inventory.service.paths.info
        device = str(survey.ask(place.inventory, place.fleet, place.host, path).json().get("device"))
        if not device.startswith("cuda"):
            raise NotStarted(
                f"there is no GPU to lose: its server computes on {device}",
                host=place.host.name,
                hint="use another fault, or a host with a GPU",
                state="nothing was changed",
            )

    def prove(self, place: Place, said: str) -> str:
        return prove_unfit(place, self.words(), self.prove_within)

    def still(self, place: Place) -> None:
        prove_unfit(place, self.words(), 5)


def prove_unfit(place: Place, words: str, seconds: float) -> str:
    """Return the evidence that a restarted server refuses to serve: it ended, or its health says `failed`.

    Raises Inconclusive when it is healthy, or has not made up its mind within so many seconds.
    """
    from drillctl import survey
    from drillctl.errors import HostError

    deadline = time.monotonic() + seconds
    last = "it does not answer"
    gone = 0
    while time.monotonic() < deadline:
        try:
            reply = survey.ask(
                place.inventory, place.fleet, place.host, place.inventory.service.paths.health, timeout=2
            )
        except HostError:
            gone = 0 if place.served.state().running else gone + 1
            if gone >= 2:
                return f"{words}: the server ended, port {place.port} closed"
        else:
            health = survey.read_health(reply)
            last = str(health)
            if health.ready:
                last = "it is healthy"
            elif health.health == "failed":
                return f"{words}: the server refuses to serve ({health.reason or 'failed'})"
        place.pause(0.1)
    raise Inconclusive(f"the fault is not proven: {last}", host=place.host.name)
