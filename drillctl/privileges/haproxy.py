"""The programs of a gateway of the kind `haproxy`: they set the servers of the zones at its socket, no others (pure).

What comes over its socket can change everything in HAProxy, and what its state file says can send clients to any
address after a reload. So a line of commands must be letter by letter the one that drillctl makes, for servers that
HAProxy itself says have an address of a zone's; and no bytes are written into the state file that root has not found
there before: those in it now, or those that the guard keeps of it.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from drillctl.gateway import haproxy_scripts as scripts
from drillctl.gateway import kept_file
from drillctl.gateway.nginx_config import normalised
from drillctl.gateway.state_file import StateFile
from drillctl.guard.gateway_orders import ID, health_urls
from drillctl.privileges import content
from drillctl.privileges.argument import SHA256, Argument, exactly
from drillctl.privileges.program import Needs, Program, Variant, plain

if TYPE_CHECKING:
    from drillctl.inventory import Haproxy, Host, Inventory

_MODES = tuple(map(exactly, kept_file.MODES))
_ROOT = exactly(kept_file.OWNER)
_MOST_WORDS = 16000
_STATES = Argument("", "A-Za-z0-9_.:= -", called="NAME=state of each server", most=_MOST_WORDS)

_JUDGE = (
    scripts.ASK
    + content.TAKE
    + r"""
# Socket, backend, commands: refuse those that do more than set servers of the zones, each once, at least one to ready.
zones_only() {
    told=$(ask "$1" "show servers state $2") || exit 3
    printf '%s\n' "$told" | words=$3 awk -v backend="$2" -v known=@KNOWN@ '
        function is_known(name) { return index(known, " " tolower(name) " ") }
        /^# / { for (i = 2; i <= NF; i++) at[$i] = i - 1; next }
        "be_name" in at && ($at["be_name"] "") == (backend "") {
            port = ":" $at["srv_port"]; name = $at["srv_name"]
            if (is_known(name) || is_known($at["srv_addr"] port) || is_known("[" $at["srv_addr"] "]" port) ||
                ("srv_fqdn" in at && is_known($at["srv_fqdn"] port))) ours[name]
        }
        END {
            start = "set server " backend "/"
            count = split(ENVIRON["words"], command, "; ")
            for (i = 1; i <= count; i++) {
                rest = substr(command[i], length(start) + 1)
                if (index(command[i], start) != 1 || split(rest, word, " ") != 3) exit 1
                if (rest != word[1] " state " word[3] || !(word[1] in ours) || word[1] in done) exit 1
                if (word[3] != "ready" && word[3] != "drain" && word[3] != "maint") exit 1
                done[word[1]]
                if (word[3] == "ready") ready = 1
            }
            exit !ready
        }
    ' || deny "these commands do more than set servers of the zones, as HAProxy lists them"
}
known_states() { cmp -s -- "$1" "$3" || cmp -s -- "$2" "$3"; } # state file, what the guard keeps of it, what was read
# State file, what the guard keeps of it.
take_states() {
    take @MOST@ known_states "$1" "$2" || deny "these bytes are neither what is in $1 nor what the guard keeps of it"
}
"""
)

# Socket, sha256 of the state file (`-`: absent), backend, the servers as they were and as the drill sets them,
# commands, state file: as `gateway.haproxy` is registered.
_CHECKS = """\
if [ "$2 ${5:-}" = "register gateway.haproxy" ]; then
    zones_only "$6" "$8" "${11}"
    [ "$7" = - ] || take_states "${12}" @KEPT@
fi
"""


def needs(inventory: Inventory, gateway: Haproxy, host: Host) -> Needs:
    """Return what such a gateway needs on one of its hosts."""
    judge = _JUDGE.replace("@KNOWN@", shlex.quote(f" {' '.join(_known(inventory))} "))
    judge = judge.replace("@MOST@", str(StateFile.MOST_BYTES))
    kept = shlex.quote(f"/var/lib/drillctl/{host.name}/kept-{ID}")
    program = (gateway.program,) if gateway.program.startswith("/") else ()
    return Needs(
        (*_to_look(gateway), *_to_switch(gateway, judge, kept)),
        tuple(_undos(inventory, gateway)),
        (gateway.config, gateway.state_file, gateway.socket, *program),
        # A config is read by root, and may name code to be loaded.
        (gateway.config, gateway.socket, *program),
        judge,
        _CHECKS.replace("@KEPT@", kept),
    )


def _known(inventory: Inventory) -> list[str]:
    """Return how HAProxy may spell the servers of the zones: by address or by name, as `servers_of` finds them."""
    addresses = [inventory.upstream(host) for zone in inventory.zones for host in zone.hosts]
    return sorted({spelling for address in addresses for spelling in (address.lower(), normalised(address))})


def _to_look(gateway: Haproxy) -> list[Program]:
    config, socket, file = exactly(gateway.config), exactly(gateway.socket), exactly(gateway.state_file)
    return [
        plain("haproxy-test", "test HAProxy's config", [gateway.program, "-c", "-f", gateway.config]),
        Program("haproxy-read", "hash HAProxy's config", scripts.READ, ((config,),)),
        Program("haproxy-state-lines", "show which state file the config names", scripts.STATE_LINES, ((config,),)),
        Program("haproxy-states", "show the backend's servers", scripts.STATES, ((socket, exactly(gateway.backend)),)),
        Program("haproxy-statistics", "show HAProxy's statistics", scripts.STAT, ((socket,),)),
        Program(
            "haproxy-state-file",
            "show the state file",
            scripts.FILE,
            ((file, exactly(str(StateFile.MOST_BYTES))),),
        ),
        Program("haproxy-prepare", "see that the state file can be written", scripts.PREPARE, ((file,),)),
    ]


def _to_switch(gateway: Haproxy, judge: str, kept: str) -> list[Program]:
    socket, backend, file = exactly(gateway.socket), exactly(gateway.backend), exactly(gateway.state_file)
    commands, nothing = _commands(gateway), exactly("")
    maybe = (nothing, commands)
    checks = f'[ -z "$2" ] || zones_only "$1" {shlex.quote(gateway.backend)} "$2"\n'
    return [
        Program(
            "haproxy-switch",
            "set the zones' servers, and write all states down",
            scripts.SWITCH,
            ((socket, backend, _STATES, commands, file),),
            judge,
            'zones_only "$1" "$2" "$4"\n',
        ),
        Program(
            "haproxy-put",
            "set the zones' servers, and the state file, as they were",
            scripts.PUT,
            (
                (socket, maybe, file, nothing, nothing, nothing),
                (socket, maybe, file, SHA256, _MODES, _ROOT),
            ),
            judge,
            f'{checks}[ -z "$4" ] || take_states "$3" {kept}\n',
        ),
    ]


def _undos(inventory: Inventory, gateway: Haproxy) -> list[Variant]:
    # A drill registers what it stages, and here that is nothing.
    found: list[Variant] = [(exactly("gateway.discard"),)]
    socket, backend, file = exactly(gateway.socket), exactly(gateway.backend), exactly(gateway.state_file)
    none = exactly("-")
    # Of either zone: `drillctl switch` may lead to the primary, and then the other one is the way back.
    for zone in inventory.zones:
        urls = tuple(map(exactly, health_urls(inventory, zone)))
        for sha256, mode, owner in ((none, none, none), (SHA256, _MODES, _ROOT)):
            words = (socket, sha256, backend, _STATES, _STATES, _commands(gateway), file, mode, owner)
            found.append((exactly("gateway.haproxy"), *words, *urls))
    return found


def _commands(gateway: Haproxy) -> Argument:
    start = f"set server {gateway.backend}/"
    return Argument(start, "A-Za-z0-9_.:;/ -", called="server and state; …", most=_MOST_WORDS)
