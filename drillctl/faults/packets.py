"""partition, reject, loss: packets between the zone and somebody are dropped, refused, or lost by chance, by nftables.

All rules are in one table of the drill's own on the zone's host, so that removing the table removes every trace.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from drillctl.errors import CommandFailed, Inconclusive, NotStarted
from drillctl.faults.fault import Fault, Place
from drillctl.undo import Undo

if TYPE_CHECKING:
    from drillctl.inventory import Host, Inventory

Side = Literal["gateway", "clients", "drillctl"]
Others = Literal["gateway", "clients"]

DELAY = 0.5
"""Seconds until a cut to drillctl itself begins; the command that makes it must end before."""

CHECK = """
command -v nft >/dev/null || { echo "nft is not installed" >&2; exit 1; }
nft add table inet "$1" && nft delete table inet "$1"
"""

# $1 table, $2 port, $3 what to do with a packet, $4 whose packets (gateway, clients, drillctl), $5 seconds after which
# the table goes by itself (0: never), then the addresses of the gateway, or of drillctl.
INJECT = """
set -eu
table=$1 port=$2 verdict=$3 side=$4 most=$5
shift 5
case $verdict in
drop) do='counter drop' ;;
reject) do='counter reject with tcp reset' ;;
loss-*) do="numgen random mod 1000 < ${verdict#loss-} counter drop" ;;
esac
rules=
if [ "$side" = clients ]; then
    rules="in iifname != lo tcp dport $port $do
out oifname != lo tcp sport $port $do"
else
    for name; do
        for address in $(getent ahosts "$name" | awk '{ print $1 }' | sort -u); do
            case $address in *:*) family=ip6 ;; *) family=ip ;; esac
            rules="$rules
in $family saddr $address tcp dport $port $do
out $family daddr $address tcp sport $port $do"
        done
    done
fi
[ -n "$rules" ] || { echo "no address to filter" >&2; exit 1; }
# A reset is for who asks; what goes out to them is dropped.
chain() {
    echo "chain $1 { type filter hook $2 priority -300; policy accept;"
    printf '%s\\n' "$rules" | sed -n "s/^$1 //p" | sed "$3"
    echo "}"
}
text=$(
    echo "table inet $table {"
    chain in input ''
    chain out output 's/reject with tcp reset/drop/'
    echo "}"
)
if [ "$most" = 0 ]; then
    printf '%s\\n' "$text" | nft -f -
else
    # A cut to drillctl itself is made once this has ended, or drillctl would never hear that it has. Nor can drillctl
    # undo it: it ends by itself, and by the guard in any case.
    printf '%s\\n' "$text" | nft -c -f -
    setsid sh -c 'sleep @DELAY@; printf "%s\\n" "$3" | nft -f -; sleep "$1"; nft delete table inet "$2"' \\
        drillctl "$most" "$table" "$text" </dev/null >/dev/null 2>&1 &
fi
""".replace("@DELAY@", f"{DELAY:g}")

# Wait until the rules have hit packets: $1 table, $2 hundredths of a second at most.
HITS = """
n=0 hits=0
while [ "$n" -lt "$2" ]; do
    hits=$(nft list table inet "$1" 2>/dev/null | sed -n 's/.*counter packets \\([0-9]*\\).*/\\1/p' |
        awk '{ s += $1 } END { print s + 0 }')
    [ "$hits" = 0 ] || break
    n=$((n + 1)); sleep 0.01
done
echo "$hits"
"""


LISTED = 'exec nft list table inet "$1"\n'


class Packets(Fault):
    """What the three have in common."""

    verdict: ClassVar[str]
    meets: Annotated[Side, Field(alias="from")] = "gateway"

    model_config = ConfigDict(populate_by_name=True)

    def does(self, inventory: Inventory, host: Host) -> tuple[str, str]:
        whom = {
            "gateway": f"between the gateway ({', '.join(g.address for g in inventory.gateway.hosts)}) and",
            "clients": "from anybody to",
            "drillctl": "between drillctl and",
        }[self.meets]
        port = "its sshd" if self.meets == "drillctl" else f"port {inventory.port(host)}"
        return f"nft: {self.words()} every packet {whom} {port}", "nft delete table of the drill"

    def words(self) -> str:
        """Return what is done with a packet, in a word or two."""
        return self._verdict()

    def _verdict(self) -> str:
        return self.verdict

    def _seconds(self) -> int:
        return 0

    def check(self, place: Place) -> None:
        try:
            place.transport.script("trying nftables", CHECK, f"{table_of(place)}_try", privileged=True)
        except CommandFailed as error:
            raise NotStarted(
                f"packets cannot be filtered here: {error.message}",
                host=place.host.name,
                hint="install nftables there and allow it to the remote user, or use another fault",
                state="nothing was changed",
            ) from None

    def undos(self, place: Place) -> tuple[Undo, ...]:
        return (Undo("filter.remove", place.host.name, "remove the packet filter", {"table": table_of(place)}),)

    def inject(self, place: Place) -> str:
        addresses = [gateway.address for gateway in place.inventory.gateway.hosts]
        port = str(place.port)
        if self.meets == "drillctl":
            # sshd(8): client address, client port, server address, server port; sudo does not pass it on.
            said = place.transport.script("asking who asks", 'echo "${SSH_CONNECTION:-}"').text.split()
            if len(said) != 4:
                raise Inconclusive("sshd does not say from where drillctl comes", host=place.host.name)
            addresses, port = [said[0]], said[3]
        words = (table_of(place), port, self._verdict(), self.meets, str(self._seconds()), *addresses)
        return place.transport.script("filtering packets", INJECT, *words, privileged=True).text

    def prove(self, place: Place, said: str) -> str:
        hits = place.transport.script(
            "looking at the packet filter", HITS, table_of(place), "300", privileged=True
        ).text.strip()
        if not hits.isdigit() or hits == "0":
            raise Inconclusive("the fault is not proven: the filter has met no packet in 3 s", host=place.host.name)
        return f"{self.words()}: {hits} packets so far"

    def still(self, place: Place) -> None:
        if self._seconds():
            return
        listed = place.transport.script(
            "looking at the packet filter", LISTED, table_of(place), privileged=True, check=False
        )
        if listed.exit_code != 0:
            raise Inconclusive("the packet filter is gone: the fault did not last", host=place.host.name)


class Partition(Packets):
    """Drop every packet between the zone and the gateway, its clients, or drillctl: connections hang.

    A cut from drillctl ends by itself after `seconds`, which must be well within the guards' time.
    """

    fault: Literal["partition"]
    seconds: Annotated[int, Field(strict=True, ge=1, le=600)] = 3
    verdict: ClassVar[str] = "drop"

    def _seconds(self) -> int:
        return self.seconds if self.meets == "drillctl" else 0

    def prove(self, place: Place, said: str) -> str:
        if self.meets != "drillctl":
            return super().prove(place, said)
        # The way to look is cut; that the host did not answer for a while is the proof. The cut is yet to begin.
        deadline = time.monotonic() + DELAY + min(2.0, self.seconds / 2)
        while time.monotonic() < deadline:
            if not place.transport.alive(timeout=min(2.0, self.seconds / 2)):
                return f"the host does not answer drillctl, for {self.seconds} s"
            time.sleep(0.05)
        raise Inconclusive("the fault is not proven: the host still answers drillctl", host=place.host.name)


class Reject(Packets):
    """Refuse every connection to the zone's port with a reset, as a firewall does.

    Not drillctl's own: there is nothing that would end it by itself.
    """

    fault: Literal["reject"]
    meets: Annotated[Others, Field(alias="from")] = "gateway"
    verdict: ClassVar[str] = "reject"


class Loss(Packets):
    """Lose so many per cent of the packets, both ways, by chance; not of drillctl's own, as with `reject`."""

    fault: Literal["loss"]
    meets: Annotated[Others, Field(alias="from")] = "gateway"
    percent: Annotated[float, Field(strict=True, gt=0, le=100)] = 30.0
    verdict: ClassVar[str] = "loss"

    def words(self) -> str:
        return f"lose {self.percent:g} % of"

    def _verdict(self) -> str:
        return f"loss-{round(self.percent * 10)}"


def table_of(place: Place) -> str:
    """Return the name of the drill's nftables table on a host."""
    return "drillctl_" + "".join(c if c.isalnum() else "_" for c in place.run_id)
