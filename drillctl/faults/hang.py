"""hang: SIGSTOP to every process of the service: the kernel still accepts connections, and nobody answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from drillctl.errors import Inconclusive
from drillctl.faults.fault import Fault, Place
from drillctl.faults.processes import FIND, named
from drillctl.undo import Undo

if TYPE_CHECKING:
    from drillctl.inventory import Host, Inventory

HANG = (
    FIND
    + """
[ -n "$pids" ] || { echo "pids= states= listens=0"; exit 0; }
kill -STOP $pids
n=0
while [ "$n" -lt 200 ]; do
    case $(states) in *[!T]*) ;; *) break ;; esac
    n=$((n + 1)); sleep 0.01
done
listens=0
awk -v hex="$(printf ':%04X' "$3")" '$4 == "0A" && substr($2, length($2) - 4) == hex { found = 1 }
    END { exit !found }' /proc/net/tcp /proc/net/tcp6 2>/dev/null && listens=1
echo "pids=$(echo $pids) states=$(states) listens=$listens"
"""
)

NOTHING = "-"

STATES = FIND + 'echo "pids=$(echo $pids) states=$(states)"\n'


class Hang(Fault):
    """Stop every process of the service without ending it (SIGSTOP); `heal` lets them go on."""

    fault: Literal["hang"]

    def does(self, inventory: Inventory, host: Host) -> tuple[str, str]:
        what = " ".join(named(inventory, host))
        return f"kill -STOP every process of {what}", f"kill -CONT every process of {what}"

    def undos(self, place: Place) -> tuple[Undo, ...]:
        return (continue_undo(place),)

    def inject(self, place: Place) -> str:
        words = (*named(place.inventory, place.host), str(place.port))
        return place.transport.script("stopping the service", HANG, *words, privileged=True).text

    def prove(self, place: Place, said: str) -> str:
        shown = _fields(said)
        pids, states = shown.get("pids", ""), shown.get("states", "")
        if not pids:
            raise Inconclusive("the fault hit nothing: there was no process of the service", host=place.host.name)
        if set(states) != {"T"}:
            raise Inconclusive(f"the fault is not proven: processes in state {states}, not all stopped (T)")
        if shown.get("listens") != "1":
            raise Inconclusive(f"the fault is not proven: nothing listens on port {place.port}", host=place.host.name)
        return f"SIGSTOP to pid {pids.replace(' ', ', ')}: all stopped, port {place.port} still accepts"

    def still(self, place: Place) -> None:
        words = named(place.inventory, place.host)
        states = _fields(place.transport.script("looking at the service", STATES, *words, privileged=True).text)
        if set(states.get("states", "")) != {"T"}:
            raise Inconclusive("the stopped server runs again: the fault did not last", host=place.host.name)


def continue_undo(place: Place, token: str = NOTHING) -> Undo:
    """Return the undo that lets stopped processes go on; `token` is a file whose removal ends what stops them."""
    return Undo("service.continue", place.host.name, "let the stopped processes go on", {"token": token})


def _fields(said: str) -> dict[str, str]:
    """Read `name=value name=value`, where a value may hold blanks."""
    fields: dict[str, str] = {}
    name = ""
    for word in said.split():
        head, equals, tail = word.partition("=")
        if equals:
            name, fields[head] = head, tail
        elif name:
            fields[name] = f"{fields[name]} {word}".strip()
    return fields
