"""The programs of a gateway of the kind `nginx-flag`: they set the flag, take it away, and no more (pure).

nginx looks only whether the flag is there. What is in it is still checked, and its mode and owner are root's: a file
with bytes and rights of somebody else's choice could be more than a flag, whatever folder the inventory names.
"""

from __future__ import annotations

import shlex
from posixpath import dirname
from typing import TYPE_CHECKING

from drillctl.gateway import flag as flags
from drillctl.gateway import kept_file
from drillctl.guard.gateway_orders import health_urls
from drillctl.privileges import content, nginx
from drillctl.privileges.argument import RUN, SHA256, Argument, exactly
from drillctl.privileges.program import Needs, Program, Variant

if TYPE_CHECKING:
    from drillctl.inventory import Inventory, NginxFlag

MODES = tuple(map(exactly, kept_file.MODES))
ROOT = exactly(kept_file.OWNER)

_LINE = RUN.within(flags.LINE)
_OVER = Argument("", "0-9a-fnst ", called="sha256 sums, or absent", least=0, most=4000)

_JUDGE = (
    content.TAKE
    + r"""
flag_of() { printf '%s\n' @LINE@"$1" | cmp -s - "$2"; } # run, file
flag_of_any() { # file
    # An empty one was made by hand.
    [ -s "$1" ] || return 0
    IFS= read -r line <"$1"
    @IS_LINE@ && printf '%s\n' "$line" | cmp -s - "$1"
}
take_any_flag() { take 1024 flag_of_any || deny "these bytes are not what a run writes into its flag"; }
""".replace("@LINE@", shlex.quote(flags.LINE)).replace("@IS_LINE@", _LINE.test.replace('"$1"', '"$line"', 1))
)

_STAGE_CHECKS = """\
run=${2##*/.drillctl-}
take 1024 flag_of "${run%.flag}" || deny "these bytes are not what this run writes into its flag"
"""

# Flag, sha256 (`-`: it was absent), mode, owner: as `gateway.flag` is registered.
_CHECKS = 'case "$2 ${5:-} ${7:-}" in "register gateway.flag "[!-]*) take_any_flag ;; esac\n'


def needs(inventory: Inventory, gateway: NginxFlag) -> Needs:
    """Return what such a gateway needs on each of its hosts."""
    return Needs(
        (*nginx.to_look(gateway), nginx.facts(gateway), *_of_flag(gateway)),
        tuple(_undos(inventory, gateway)),
        (*nginx.files(gateway), gateway.flag_file),
        (gateway.config,),
        _JUDGE,
        _CHECKS,
    )


def _of_flag(gateway: NginxFlag) -> list[Program]:
    flag, candidate, nothing = exactly(gateway.flag_file), _candidate(gateway), exactly("")
    return [
        Program("flag-look", "show the flag", flags.LOOK, ((flag, exactly(str(flags.MOST_BYTES))),)),
        Program(
            "flag-stage",
            "write a run's flag beside the flag",
            flags.STAGE,
            ((flag, candidate, exactly(gateway.pidfile)),),
            _JUDGE,
            _STAGE_CHECKS,
        ),
        Program("flag-raise", "set the flag to the staged one", flags.RAISE, ((flag, candidate, _LINE),)),
        Program("flag-lower", "take the flag away", flags.LOWER, ((flag, candidate, (SHA256, exactly("absent"))),)),
        Program(
            "flag-put",
            "make the flag what it was",
            flags.PUT,
            (
                (flag, candidate, nothing, nothing, nothing, _OVER),
                (flag, candidate, SHA256, MODES, ROOT, _OVER),
            ),
            _JUDGE,
            '[ -z "$3" ] || take_any_flag\n',
        ),
        Program("flag-discard", "remove a staged flag", flags.DISCARD, ((candidate,),)),
    ]


def _undos(inventory: Inventory, gateway: NginxFlag) -> list[Variant]:
    kind, flag, none = exactly("gateway.flag"), exactly(gateway.flag_file), exactly("-")
    ours = (SHA256, exactly("absent"), none)
    primary, standby = (
        tuple(map(exactly, health_urls(inventory, inventory.home(role)))) for role in ("primary", "standby")
    )
    return [
        (exactly("gateway.discard"), _candidate(gateway)),
        (kind, flag, none, none, none, ours, *primary),
        (kind, flag, SHA256, MODES, ROOT, ours, *standby),
    ]


def _candidate(gateway: NginxFlag) -> Argument:
    return RUN.within(f"{dirname(gateway.flag_file)}/.drillctl-", ".flag")
