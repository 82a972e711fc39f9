"""disk-full: the disk on which a folder lies is filled to its last block."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from drillctl.errors import CommandFailed, Inconclusive, NotStarted
from drillctl.faults.fault import Fault, Place
from drillctl.hosts.folder import ENTER
from drillctl.language import AbsolutePath
from drillctl.undo import Undo

if TYPE_CHECKING:
    from drillctl.inventory import Host, Inventory

# $1 folder: prints the free bytes, and whether it is the file system of `/`.
FREE = (
    ENTER
    + r"""
set -eu
enter "$1/."
set -- $(stat -f -c '%a %S' .)
same=no
[ "$(stat -c %d .)" != "$(stat -c %d /)" ] || same=yes
echo "$(($1 * $2)) $same"
"""
)

# $1 the file that fills.
FILL = (
    ENTER
    + r"""
set -u
enter "$1"
exec $as sh -c '
    free=$(df -Pk . | awk "NR == 2 { print \$4 }")
    fallocate -l "${free}K" -- "$1" 2>/dev/null
    cat /dev/zero >> "$1" 2>/dev/null
    sync -- "$1" 2>/dev/null
    probe=./.drillctl-probe
    full=yes
    head -c 65536 /dev/zero > "$probe" 2>/dev/null && [ "$(stat -c %s "$probe")" = 65536 ] && full=no
    rm -f -- "$probe"
    echo "full=$full bytes=$(stat -c %s -- "$1")"
' drillctl "./${1##*/}"
"""
)


class DiskFull(Fault):
    """Fill the disk on which `path` lies (by default the model's folder), of at most `max_gib` of free space.

    The root file system is refused: a host whose root is full may not be able to help itself any more.
    """

    fault: Literal["disk-full"]
    path: AbsolutePath | None = None
    max_gib: Annotated[float, Field(strict=True, gt=0, le=1000)] = 10.0

    def does(self, inventory: Inventory, host: Host) -> tuple[str, str]:
        return (
            f"fill the disk of {self._folder(inventory, host)} with {self._filler(inventory, host)}",
            "remove that file",
        )

    def check(self, place: Place) -> None:
        folder = self._folder(place.inventory, place.host)
        try:
            free, same = place.transport.script(f"asking for {folder}", FREE, folder, privileged=True).text.split()
        except CommandFailed as error:
            raise NotStarted(error.message, host=place.host.name, state="nothing was changed") from None
        hint = "name another `path` in the playbook, on a disk of its own"
        if same == "yes":
            raise NotStarted(f"{folder} is on the root file system", host=place.host.name, hint=hint)
        if int(free) > self.max_gib * (1 << 30):
            raise NotStarted(
                f"{int(free) / (1 << 30):.1f} GiB are free at {folder}, more than `max_gib: {self.max_gib:g}`",
                host=place.host.name,
                hint=hint,
            )

    def undos(self, place: Place) -> tuple[Undo, ...]:
        filler = self._filler(place.inventory, place.host)
        return (Undo("file.discard", place.host.name, "remove the file that fills the disk", {"path": filler}),)

    def inject(self, place: Place) -> str:
        filler = self._filler(place.inventory, place.host)
        return place.transport.script("filling the disk", FILL, filler, timeout=300, privileged=True).text

    def prove(self, place: Place, said: str) -> str:
        shown = dict(word.split("=", 1) for word in said.split() if "=" in word)
        if shown.get("full") != "yes":
            raise Inconclusive("the fault is not proven: the disk still takes bytes", host=place.host.name)
        folder = self._folder(place.inventory, place.host)
        return f"the disk of {folder} takes no byte any more ({shown.get('bytes')} bytes of filling)"

    def still(self, place: Place) -> None:
        filler = self._filler(place.inventory, place.host)
        if place.transport.run(["test", "-e", filler], check=False, privileged=True).exit_code:
            raise Inconclusive("the file that fills the disk is gone: the fault did not last", host=place.host.name)

    def _folder(self, inventory: Inventory, host: Host) -> str:
        return self.path or str(PurePosixPath(inventory.model_path(host)).parent)

    def _filler(self, inventory: Inventory, host: Host) -> str:
        return f"{self._folder(inventory, host).rstrip('/')}/.drillctl-filler"
