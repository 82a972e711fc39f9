"""The processes of a service on its host, for faults that work on them: the beginning of their scripts.

Sets $pids to every process of the unit's control group, or of the session whose leader a pidfile names. The start time
in the pidfile tells the leader from a later process with the same pid (proc(5), field 22 of stat).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.inventory import SystemdStart

if TYPE_CHECKING:
    from drillctl.inventory import Host, Inventory

FIND = """
set -u
find_pids() { # systemd UNIT | process PIDFILE
    pids=
    if [ "$1" = systemd ]; then
        group=$(systemctl show --property=ControlGroup --value -- "$2")
        [ -n "$group" ] || return 0
        pids=$(cat "/sys/fs/cgroup$group/cgroup.procs" "/sys/fs/cgroup/systemd$group/cgroup.procs" 2>/dev/null |
            sort -nu | tr '\\n' ' ')
        return 0
    fi
    [ -s "$2" ] || return 0
    read -r leader since < "$2" || return 0
    [ "$(sed 's/.*) //' "/proc/$leader/stat" 2>/dev/null | cut -d' ' -f20)" = "$since" ] || return 0
    for stat in /proc/[0-9]*/stat; do
        { read -r line < "$stat"; } 2>/dev/null || continue
        set -- ${line##*) }
        if [ "${4:-}" = "$leader" ]; then p=${stat#/proc/}; pids="$pids ${p%/stat}"; fi
    done
}
states() {
    for p in $pids; do sed -n 's/^State:[[:space:]]*\\(.\\).*/\\1/p' "/proc/$p/status" 2>/dev/null; done | tr -d '\\n'
}
find_pids "$1" "$2"
"""


def named(inventory: Inventory, host: Host) -> tuple[str, str]:
    """Return the two words that name a host's service to these scripts and to its guard."""
    start = inventory.service.start
    if isinstance(start, SystemdStart):
        return "systemd", start.unit
    return "process", host.pidfile or start.pidfile or ""
