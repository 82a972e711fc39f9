"""model: the model file is deleted, or altered, and the service restarted: it must refuse to serve."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, ClassVar, Literal

from drillctl.errors import Inconclusive
from drillctl.faults.fault import Fault, Place, revive_undo
from drillctl.faults.restart import prove_unfit
from drillctl.hosts.folder import ENTER
from drillctl.hosts.systemd import hold_of
from drillctl.undo import Undo

if TYPE_CHECKING:
    from drillctl.inventory import Host, Inventory

# $1 live file, $2 where it is kept meanwhile, $3 deleted or altered, $4 unit, $5 the drop-in that marks the fault.
# A large model's copy may outlast the lease, or drillctl's patience: whoever undoes the fault meanwhile removes the
# copy (`file.put-back`) and the drop-in (`service.revive`), and then nothing may be moved any more.
SPOIL = (
    ENTER
    + r"""
set -eu
how=$3 unit=$4 drop_in=$5
enter "$1"
live=./${1##*/} kept=./${2##*/} copy=./${2##*/}.copy
[ -f "$live" ] && [ ! -e "$kept" ] || { echo "$1 is not there, or $2 is" >&2; exit 1; }
trap '$as rm -f -- "$copy"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "${drop_in%/*}"
: > "$drop_in"
marked() { [ -e "$drop_in" ] || { echo "the fault was undone meanwhile; ${live#./} was left as it is" >&2; exit 1; }; }
if [ "$how" = altered ]; then
    $as sh -c '
        set -eu
        live=$1 copy=$2
        rm -f -- "$copy"
        size=$(stat -L -c %s -- "$live")
        cp -p -- "$live" "$copy"
        # One byte in the middle becomes another, whatever it was.
        byte=$(od -An -tu1 -j $((size / 2)) -N 1 -- "$live" | tr -d " ")
        printf "\\$(printf %o $((255 - byte)))" | dd of="$copy" bs=1 seek=$((size / 2)) conv=notrunc status=none
    ' drillctl "$live" "$copy"
    marked
    $as sh -c '
        mv -- "$1" "$2" || exit
        mv -- "$3" "$1" || { [ ! -e "$2" ] || mv -- "$2" "$1"; exit 1; }
    ' drillctl "$live" "$kept" "$copy"
else
    marked
    $as mv -- "$live" "$kept"
fi
systemctl daemon-reload
systemctl restart --no-block -- "$unit"
"""
)


class ModelFile(Fault):
    """Delete or alter the model file and restart the service, which must refuse to serve with it."""

    fault: Literal["model"]
    how: Literal["deleted", "altered"] = "altered"
    slow_to_prove: ClassVar[bool] = True

    def does(self, inventory: Inventory, host: Host) -> tuple[str, str]:
        live = inventory.model_path(host)
        unit = getattr(inventory.service.start, "unit", "the service")
        change = "change one byte of it" if self.how == "altered" else "leave nothing in its place"
        return (
            f"mv {live} {kept_of(live)}; {change}; systemctl restart {unit}",
            f"mv {kept_of(live)} {live}; systemctl restart {unit}",
        )

    def check(self, place: Place) -> None:
        place.unit  # noqa: B018 - raises where there is none

    def undos(self, place: Place) -> tuple[Undo, ...]:
        live = place.inventory.model_path(place.host)
        put_back = Undo(
            "file.put-back", place.host.name, "put the model file back", {"live": live, "kept": kept_of(live)}
        )
        return (revive_undo(place, restart=True), put_back)

    def inject(self, place: Place) -> str:
        live = place.inventory.model_path(place.host)
        words = (live, kept_of(live), self.how, place.unit, hold_of(place.unit))
        return place.transport.script("spoiling the model", SPOIL, *words, timeout=120, privileged=True).text

    def prove(self, place: Place, said: str) -> str:
        return prove_unfit(place, f"the model file is {self.how}", 60)

    def still(self, place: Place) -> None:
        if place.transport.run(
            ["test", "-e", kept_of(place.inventory.model_path(place.host))], check=False, privileged=True
        ).exit_code:
            raise Inconclusive("the model file is back: the fault did not last", host=place.host.name)


def kept_of(live: str) -> str:
    """Return where a file is kept while its place is spoilt: beside it, so that it only has to be renamed."""
    path = PurePosixPath(live)
    return str(path.with_name(f".drillctl-kept-{path.name}"))
