"""The service as a process of its own session, known by a pidfile that also holds its start time.

The start time (field 22 of /proc/PID/stat, proc(5)) tells the process from a later one that got the same pid, so
nothing is ever killed by name or by a number that means something else by now.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from drillctl.hosts.service import LISTENERS, PROOF, Killed, ServiceManager, ServiceState, parse_proof

if TYPE_CHECKING:
    from drillctl.hosts.service import ServiceAction
    from drillctl.hosts.transport import Transport
    from drillctl.inventory import ProcessStart

_FIND = """
# Sets $pids to every process of the session whose leader the pidfile names, if that is still the same process.
born() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
find_session() {
    pids= leader= since=
    [ -s "$1" ] || return 0
    read -r leader since < "$1" || true
    case $leader in ''|*[!0-9]*) echo "$1 does not hold a pid" >&2; exit 3;; esac
    case $since in ''|*[!0-9]*) echo "$1 holds no start time: it was not written by drillctl" >&2; exit 3;; esac
    [ "$(born "$leader")" = "$since" ] || return 0
    for stat in /proc/[0-9]*/stat; do
        # Without a fork for each process: a host may have a thousand, and clients wait while this looks.
        { read -r line < "$stat"; } 2>/dev/null || continue
        # Fields after the name in brackets: state, ppid, pgrp, session.
        set -- ${line##*) }
        case ${1:-Z} in Z|X) continue;; esac
        if [ "${4:-}" = "$leader" ]; then p=${stat#/proc/}; pids="$pids ${p%/stat}"; fi
    done
}
"""

_STATE = _FIND + 'find_session "$1"; echo "Pids=$(echo $pids)"\n'

_START = (
    _FIND
    + """
set -eu
pidfile=$1 folder=$2 log=$3
shift 3
find_session "$pidfile"
[ -z "$pids" ] || exit 0
while IFS= read -r variable; do export "$variable"; done
cd -- "$folder"
mkdir -p -- "$(dirname -- "$pidfile")"
# The new session's leader writes its own pid and start time before it becomes the service.
setsid sh -c '
    born=$(sed "s/.*) //" /proc/$$/stat | cut -d" " -f20)
    echo "$$ $born" > "$0.new" && mv -f -- "$0.new" "$0"
    exec "$@"
' "$pidfile" "$@" < /dev/null >> "$log" 2>&1 &
n=0
while [ "$n" -lt 200 ]; do
    find_session "$pidfile"
    [ -n "$pids" ] && exit 0
    n=$((n + 1))
    sleep 0.01
done
echo "the process ended at once; its log is $log: $(tail -n 1 -- "$log" 2>/dev/null)" >&2
exit 1
"""
)

_STOP = (
    _FIND
    + """
find_session "$1"
[ -z "$pids" ] || kill -15 $pids 2>/dev/null
n=0
while [ -n "$pids" ] && [ "$n" -lt 300 ]; do sleep 0.1; n=$((n + 1)); find_session "$1"; done
[ -z "$pids" ] || kill -9 $pids
rm -f -- "$1"
"""
)

_KILL = (
    _FIND
    + """
port=$2 limit=500
find_session "$1"
"""
    + LISTENERS
    + '[ -z "$pids" ] || kill -9 $pids\n'
    + PROOF
)


class ProcessService(ServiceManager):
    """A command started by drillctl."""

    def __init__(
        self,
        transport: Transport,
        start: ProcessStart,
        *,
        port: int,
        environment: dict[str, str],
        pidfile: str,
        log: str | None,
    ) -> None:
        self.host = transport.host
        self._transport = transport
        self._start = start
        self._port = port
        self._environment = environment
        self._pidfile = pidfile
        self._log = log or f"{pidfile}.log"

    def state(self) -> ServiceState:
        text = self._transport.script("asking for the service", _STATE, self._pidfile, privileged=True).text
        pids = tuple(int(pid) for pid in text.removeprefix("Pids=").split())
        detail = f"pid {pids[0]} of {self._pidfile}" if pids else f"no process of {self._pidfile}"
        return ServiceState(running=bool(pids), pids=pids, held=False, detail=detail)

    def start(self) -> None:
        # By stdin, because anybody on the host can read the arguments of a command, and values may be secret.
        variables = "".join(f"{name}={value}\n" for name, value in sorted(self._environment.items()))
        interpreter = [self._start.interpreter] if self._start.interpreter else []
        self._transport.script(
            "starting the service",
            _START,
            self._pidfile,
            self._start.working_folder,
            self._log,
            *interpreter,
            *self._start.command,
            stdin=variables.encode(),
            privileged=True,
        )

    def stop(self) -> None:
        self._transport.script("stopping the service", _STOP, self._pidfile, timeout=60, privileged=True)

    def kill(self) -> Killed:
        done = self._transport.script("killing the service", _KILL, self._pidfile, str(self._port), privileged=True)
        return parse_proof(done, self.host)

    def revive(self, *, restart: bool = False) -> None:
        if restart:
            self.stop()
        self.start()

    def last_words(self, lines: int = 20) -> str:
        return self._transport.run(["tail", "-n", str(lines), "--", self._log], privileged=True, check=False).text


def commands(start: ProcessStart, pidfile: str, action: ServiceAction) -> tuple[str, ...]:
    """Return the command lines of an action on a process, as a plan shows them."""
    words = [*([start.interpreter] if start.interpreter else []), *start.command]
    begin = f"cd {shlex.quote(start.working_folder)} && setsid {shlex.join(words)}"
    return {
        "start": (begin,),
        "stop": (f"kill -15 every process of the session in {pidfile}",),
        "kill": (f"kill -9 every process of the session in {pidfile}",),
        "revive": (begin,),
    }[action]
