"""The service as a systemd unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.errors import CommandFailed
from drillctl.hosts.service import LISTENERS, PROOF, Killed, ServiceManager, ServiceState, parse_proof

if TYPE_CHECKING:
    from drillctl.hosts.service import ServiceAction
    from drillctl.hosts.transport import Transport

HOLD = "90-drillctl-hold.conf"
"""The runtime drop-in that keeps systemd from restarting a killed unit; in /run, so that a reboot undoes it too."""

STATE = """
unit=$1
systemctl --no-pager show --property=LoadState,ActiveState,SubState,MainPID,ControlGroup,Job -- "$unit"
group=$(systemctl show --property=ControlGroup --value -- "$unit")
echo "Pids=$( [ -n "$group" ] && cat "/sys/fs/cgroup$group/cgroup.procs" "/sys/fs/cgroup/systemd$group/cgroup.procs" \
    2>/dev/null | sort -nu | tr '\\n' ' ')"
[ -e "/run/systemd/system/$unit.d/$2" ] && echo Held=yes || echo Held=no
"""

KILL = (
    """
set -eu
unit=$1 port=$2 limit=500
members() {
    [ -z "$group" ] || cat "/sys/fs/cgroup$group/cgroup.procs" "/sys/fs/cgroup/systemd$group/cgroup.procs" \
        2>/dev/null | sort -nu | tr '\\n' ' ' || true
}
mkdir -p "/run/systemd/system/$unit.d"
printf '[Service]\\nRestart=no\\n' > "/run/systemd/system/$unit.d/$3"
systemctl daemon-reload
group=$(systemctl show --property=ControlGroup --value -- "$unit")
pids=$(members)
[ -n "$pids" ] || pids=$(systemctl show --property=MainPID --value -- "$unit" | grep -v '^0$' || true)
"""
    + LISTENERS
    + """
# Again while there are others, because one may have been forked meanwhile. One that has just ended was not killed.
hit='' left=$pids turns=0
others() { for p in $(members); do case " $hit " in *" $p "*) ;; *) printf ' %s' "$p" ;; esac; done; }
while [ -n "$left" ] && [ "$turns" -lt 100 ]; do
    for p in $left; do if kill -9 "$p" 2>/dev/null; then hit="$hit $p"; fi; done
    left=$(others)
    turns=$((turns + 1))
done
pids=$(printf '%s\\n' $hit $left | sort -nu | tr '\\n' ' ')
"""
    + PROOF
)

REVIVE = """
set -eu
unit=$1 verb=start
[ "$3" = no ] || [ ! -e "/run/systemd/system/$unit.d/$2" ] || verb=restart
rm -f -- "/run/systemd/system/$unit.d/$2"
rmdir -- "/run/systemd/system/$unit.d" 2>/dev/null || true
systemctl daemon-reload
systemctl reset-failed -- "$unit" 2>/dev/null || true
systemctl $verb --no-block -- "$unit"
"""


class SystemdService(ServiceManager):
    """A unit, by its name."""

    def __init__(self, transport: Transport, unit: str, port: int) -> None:
        self.host = transport.host
        self._transport = transport
        self._unit = unit
        self._port = port

    def state(self) -> ServiceState:
        text = self._transport.script(f"asking for {self._unit}", STATE, self._unit, HOLD, privileged=True).text
        shown = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        if shown.get("LoadState") != "loaded":
            raise CommandFailed(
                f"there is no systemd unit {self._unit} (LoadState={shown.get('LoadState', 'unknown')})",
                host=self.host,
                hint="set service.start.unit in the inventory to the unit that runs the service",
            )
        active = shown.get("ActiveState", "")
        pids = tuple(int(pid) for pid in shown.get("Pids", "").split())
        queued = bool(shown.get("Job"))
        return ServiceState(
            running=active in {"active", "activating", "reloading"} and bool(pids),
            pids=pids,
            held=shown.get("Held") == "yes",
            detail=f"{self._unit} is {active} ({shown.get('SubState', '?')}){', with a job queued' if queued else ''}",
            # Between two attempts (auto-restart) a unit is activating; one that waits for others, as for the network
            # after a boot, is inactive and has a job. One that is deactivating may be restarted after it.
            coming=active in {"activating", "deactivating"} or queued,
        )

    def start(self) -> None:
        self._transport.run(["systemctl", "start", "--no-block", "--", self._unit], privileged=True)

    def stop(self) -> None:
        self._transport.run(["systemctl", "stop", "--", self._unit], privileged=True, timeout=120)

    def kill(self) -> Killed:
        done = self._transport.script(f"killing {self._unit}", KILL, self._unit, str(self._port), HOLD, privileged=True)
        return parse_proof(done, self.host)

    def revive(self, *, restart: bool = False) -> None:
        words = (self._unit, HOLD, "yes" if restart else "no")
        self._transport.script(f"reviving {self._unit}", REVIVE, *words, privileged=True)

    def last_words(self, lines: int = 20) -> str:
        return self._transport.run(journal(self._unit, lines), privileged=True, check=False).text


def journal(unit: str, lines: int) -> list[str]:
    """Return the command that shows the end of a unit's journal."""
    return ["journalctl", "--no-pager", "--output=cat", f"--lines={lines}", f"--unit={unit}"]


def hold_of(unit: str) -> str:
    """Return the path of the drop-in that keeps systemd from restarting a killed unit."""
    return f"/run/systemd/system/{unit}.d/{HOLD}"


def commands(unit: str, action: ServiceAction) -> tuple[str, ...]:
    """Return the command lines of an action on a unit, as a plan shows them."""
    hold = hold_of(unit)
    return {
        "start": (f"systemctl start {unit}",),
        "stop": (f"systemctl stop {unit}",),
        "kill": (f"write {hold} (Restart=no)", "systemctl daemon-reload", f"kill -9 every process of {unit}"),
        "revive": (f"remove {hold}", "systemctl daemon-reload", f"systemctl start {unit}"),
    }[action]
