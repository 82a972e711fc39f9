"""slow: something else takes the CPU: the service runs for a share of the time only, ten slices a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from drillctl.errors import Inconclusive
from drillctl.faults.fault import Fault, Place
from drillctl.faults.hang import continue_undo
from drillctl.faults.processes import FIND, named
from drillctl.undo import Undo

if TYPE_CHECKING:
    from drillctl.inventory import Host, Inventory

# The loop ends by itself when its token goes: `heal`, the guard or a reboot takes it away. It also ends after $6
# seconds, lest a host whose guard was destroyed stays slow for ever.
SLOW = (
    FIND
    + """
token=$3 on=$4 off=$5 most=$6
[ -n "$pids" ] || { echo "pids="; exit 0; }
umask 077
# Never through a link that somebody put there.
( set -C && : > "$token" ) || exit 1
setsid sh -c '
    token=$1 on=$2 off=$3 most=$4
    shift 4
    read -r up _ < /proc/uptime; end=$((${up%.*} + most))
    while [ -e "$token" ]; do
        kill -STOP "$@" 2>/dev/null || break
        sleep "$off"
        kill -CONT "$@" 2>/dev/null || break
        sleep "$on"
        read -r up _ < /proc/uptime
        [ "${up%.*}" -lt "$end" ] || break
    done
    kill -CONT "$@" 2>/dev/null
    rm -f -- "$token"
' drillctl-slow "$token" "$on" "$off" "$most" $pids </dev/null >/dev/null 2>&1 &
stopped=0 ran=0 n=0
while [ "$n" -lt 60 ]; do
    case $(states) in *T*) stopped=$((stopped + 1)) ;; *) ran=$((ran + 1)) ;; esac
    n=$((n + 1)); sleep 0.01
done
echo "pids=$(echo $pids) stopped=$stopped ran=$ran"
"""
)

CYCLE = 0.1
"""Seconds of one slice: stopped, then running."""

MOST = 1800
"""Seconds after which the service is left alone by itself."""


class Slow(Fault):
    """Let the service run for `share` of the time only, as when something else takes its CPU."""

    fault: Literal["slow"]
    share: Annotated[float, Field(strict=True, ge=0.02, le=0.9)] = 0.1

    def does(self, inventory: Inventory, host: Host) -> tuple[str, str]:
        what = " ".join(named(inventory, host))
        return (
            f"ten times a second, stop and continue every process of {what}: it runs {self.share:.0%} of the time",
            "leave the processes alone",
        )

    def undos(self, place: Place) -> tuple[Undo, ...]:
        return (continue_undo(place, _token(place)),)

    def inject(self, place: Place) -> str:
        on = self.share * CYCLE
        words = (*named(place.inventory, place.host), _token(place), f"{on:.3f}", f"{CYCLE - on:.3f}", str(MOST))
        return place.transport.script("slowing the service down", SLOW, *words, privileged=True).text

    def prove(self, place: Place, said: str) -> str:
        counts = dict(word.split("=", 1) for word in said.split() if "=" in word)
        stopped, ran = int(counts.get("stopped", "0")), int(counts.get("ran", "0"))
        if not stopped:
            raise Inconclusive(f"the fault is not proven: `{said}`", host=place.host.name)
        return f"seen stopped in {stopped} of {stopped + ran} looks; it runs {self.share:.0%} of the time"

    def still(self, place: Place) -> None:
        # The loop takes its token with it when it ends, for whatever reason.
        if place.transport.run(["test", "-e", _token(place)], check=False).exit_code:
            raise Inconclusive("the service is not slowed down any more: the fault did not last", host=place.host.name)


def _token(place: Place) -> str:
    return f"/tmp/.drillctl-slow-{place.run_id}-{place.host.name}"  # noqa: S108 - made with umask 077; only its being there counts
