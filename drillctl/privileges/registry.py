"""Every program that drillctl may have to run as root on a host, with the arguments that it may be given (pure).

This list decides what an administrator installs (`installer.py`), what sudo allows (`sudoers.py`) and what a transport
runs instead of a script's text (`installed.py`). To let drillctl run one more script as root:

1. Keep the script a module-level constant, and call it by `Transport.script(..., SOURCE, *arguments, privileged=True)`.
2. Add a `Program` to `_of_zone_host` or `_of_gateway` below, or for a fault to `faults.py`: a name (it becomes the
   file's), what it does in a few words, the constant, and one variant for each way in which it is called. Pin every
   argument to what the inventory says (`exactly`); only what a run decides may vary, as one of the patterns of
   `argument.py`; a tuple stands for any one of its members. The program on the host checks the very words that it got.
3. What it reads from stdin is not checked by that: if root acts on it, add `checks` (see `content.py`).
4. A plain command, `Transport.run([...], privileged=True)`, is a `plain(name, what it does, words)`.
5. An undo that a guard holds needs its kind in `_undos` (a fault's in `faults.py`): kind and arguments, as
   `guard/orders.py` makes them.
6. Files that root writes in a folder need that folder's path in `watched_paths`: nobody else may write it.

`tests/unit/privileges/test_registry.py` fails for a script that has no program and no reason to have none.
Ask of each: what could somebody do with it who has nothing but the drill's key? Say the answer in docs/privileges.md.
A script that is not here cannot be run with `privileges: installed`; the error names it.
"""

from __future__ import annotations

import shlex
from posixpath import dirname
from typing import TYPE_CHECKING

from drillctl.errors import DrillctlError
from drillctl.gateway import nginx_scripts as nginx
from drillctl.gateway.nginx_host import MOST_LOG_BYTES, in_place
from drillctl.guard.client import ENTRY
from drillctl.guard.gateway_orders import health_urls
from drillctl.hosts import systemd
from drillctl.inventory import Nginx, SystemdStart
from drillctl.privileges import content, faults
from drillctl.privileges.argument import (
    ID,
    MODE,
    NUMBER,
    OWNER,
    PERSON,
    PIDS,
    RUN,
    SHA256,
    SHA256_OR_NOTHING,
    SHORT,
    Argument,
    exactly,
)
from drillctl.privileges.program import Program, Variant, plain

if TYPE_CHECKING:
    from drillctl.inventory import Host, Inventory

LAST_WORDS = 20
"""Lines of a unit's journal that may be read; what `ServiceManager.last_words` asks for."""

_RUN_HERE = "RUN-IS-HERE"

CHECK = """
sum=$(sha256sum </etc/sudoers.d/drillctl) && echo "sudoers ${sum%% *}"
"""
"""→ the hash of what sudo allows, which only root can read."""


def programs(inventory: Inventory, host: Host) -> tuple[Program, ...]:
    """Return the programs that drillctl needs as root on a host, by name; none where it needs no root at all."""
    found: list[Program] = []
    if host in inventory.gateway.hosts and inventory.gateway.kind == "nginx":
        found += _of_gateway(inventory)
    if inventory.zone_of(host.name) is not None and isinstance(inventory.service.start, SystemdStart):
        found += _of_zone_host(inventory, host, inventory.service.start.unit)
    if not found:
        return ()
    found.append(Program("check", "say whether sudo's rules are what drillctl expects", CHECK))
    found.append(_guard(inventory, host))
    return tuple(sorted(found, key=lambda program: program.name))


def watched_paths(inventory: Inventory, host: Host) -> tuple[str, ...]:
    """Return the files by name that root acts on: whoever may write their folders could put links in their place."""
    if host not in inventory.gateway.hosts:
        return faults.watched_paths(inventory, host)
    gateway = _nginx(inventory)
    return (gateway.config, gateway.access_log, gateway.error_log, gateway.pidfile)


def _of_zone_host(inventory: Inventory, host: Host, unit: str) -> list[Program]:
    named, hold, port = exactly(unit), exactly(systemd.HOLD), exactly(str(inventory.port(host)))
    model = inventory.model_path(host)
    return [
        plain("model-hash", "hash the model file", ["sha256sum", "--", model]),
        plain("service-start", f"start {unit}", ["systemctl", "start", "--no-block", "--", unit]),
        plain("service-stop", f"stop {unit}", ["systemctl", "stop", "--", unit]),
        plain("service-log", f"show the end of {unit}'s journal", systemd.journal(unit, LAST_WORDS)),
        Program("service-state", f"say whether {unit} runs", systemd.STATE, ((named, hold),)),
        Program("service-kill", f"kill every process of {unit}, and prove it", systemd.KILL, ((named, port, hold),)),
        Program(
            "service-revive",
            f"let systemd restart {unit} again, and start it",
            systemd.REVIVE,
            ((named, hold, (exactly("yes"), exactly("no"))),),
        ),
        *faults.of_zone_host(inventory, host, unit),
    ]


def _nginx(inventory: Inventory) -> Nginx:
    """Return the gateway, for which there are programs: the inventory refuses `installed` for the other kinds."""
    if isinstance(inventory.gateway, Nginx):
        return inventory.gateway
    raise DrillctlError(f"there are no programs for gateways of kind {inventory.gateway.kind}")


def _of_gateway(inventory: Inventory) -> list[Program]:
    gateway = _nginx(inventory)
    live, pidfile = exactly(gateway.config), exactly(gateway.pidfile)
    error_log, access_log = exactly(gateway.error_log), exactly(gateway.access_log)
    reload, nothing = exactly(shlex.join(gateway.reload)), exactly("")
    folder = _staging(inventory)
    candidates = tuple(_staging(inventory, f"/{zone.name}.candidate") for zone in inventory.zones)
    tests = tuple(_in_place_test(inventory, zone.name) for zone in inventory.zones)
    test = tuple(map(exactly, gateway.test))
    judge = content.functions(inventory.upstream(host) for zone in inventory.zones for host in zone.hosts)
    where = "the gateway's config"
    return [
        plain("gateway-test", "test nginx's config", gateway.test),
        plain("gateway-dump", "show nginx's config as nginx reads it", [*gateway.test, "-T"]),
        Program("gateway-read", f"show {where}", nginx.READ, ((live,),)),
        Program("gateway-prepare", "make an empty staging folder", nginx.PREPARE, ((live, folder, pidfile),)),
        Program(
            "gateway-write",
            f"stage {where} with other servers on",
            nginx.WRITE,
            ((candidates, live),),
            judge,
            'take_config "$2"\n',
        ),
        Program(
            "gateway-try",
            "test nginx's config as it would be with a staged one in place",
            nginx.IN_PLACE,
            ((candidates, live, *test, exactly("-T")),),
        ),
        Program(
            "gateway-activate",
            "put a staged config in place, and reload",
            nginx.ACTIVATE,
            ((live, candidates, folder, nothing, SHA256, SHA256, pidfile, error_log, tests, reload),),
            judge,
            'servers_only "$1" "$2" || deny "$2 changes more of the config than which servers are on"\n',
        ),
        Program("gateway-facts", "say what is in place and who serves", nginx.FACTS, ((live, pidfile, error_log),)),
        Program(
            "gateway-put",
            f"put {where} back with other servers on, and reload",
            nginx.PUT,
            ((live, folder, MODE, OWNER, SHA256, SHA256_OR_NOTHING, pidfile, error_log, reload),),
            judge,
            'same_rights "$1" "$3" "$4"\ntake_config "$1"\n',
        ),
        Program("gateway-reload", "reload nginx", nginx.RELOAD, ((pidfile, error_log, reload),)),
        Program(
            "gateway-wait",
            "wait until a reload is in force",
            nginx.WAIT,
            ((pidfile, error_log, NUMBER, NUMBER, PIDS, SHORT),),
        ),
        Program("gateway-discard", "remove a staging folder", nginx.DISCARD, ((folder, nothing),)),
        Program("gateway-log-position", "say how long the access log is", nginx.LOG_POSITION, ((access_log,),)),
        Program(
            "gateway-log-since",
            "show what the access log gained",
            nginx.LOG_SINCE,
            ((access_log, NUMBER, NUMBER, exactly(str(MOST_LOG_BYTES))),),
        ),
        *faults.of_gateway(inventory),
    ]


def _guard(inventory: Inventory, host: Host) -> Program:
    """Return the guard, as a user may speak to it who is not root: by its commands, with undos that are known."""
    name = exactly(host.name)
    epoch = NUMBER
    ways: list[Variant] = [
        (name, exactly("show")),
        (name, exactly("acquire"), RUN, PERSON, SHORT),
        (name, exactly("strike"), epoch, ID),
        *((name, exactly(command), epoch) for command in ("renew", "undo", "release")),
        (name, exactly("undo"), epoch, ID),
        (name, exactly("break"), RUN),
        (name, exactly("break"), RUN, exactly("forget")),
        *((name, exactly("register"), epoch, ID, *undo) for undo in _undos(inventory, host)),
    ]
    functions = checks = ""
    if host in inventory.gateway.hosts:
        functions = content.functions(inventory.upstream(h) for zone in inventory.zones for h in zone.hosts)
        # Kept bytes, live file, sha256, mode, owner: as `gateway.restore` is registered.
        checks = (
            'if [ "$2 ${5:-}" = "register gateway.restore" ]; then same_rights "$6" "$8" "$9"; take_config "$6"; fi\n'
        )
    return Program("guard", "hold this host's lease and its undos", ENTRY, tuple(ways), functions, checks)


def _undos(inventory: Inventory, host: Host) -> list[Variant]:
    """Return the undos that a host's guard may be given: each kind with its arguments, as orders.py makes them."""
    found: list[Variant] = []
    start = inventory.service.start
    if inventory.zone_of(host.name) is not None and isinstance(start, SystemdStart):
        drop_in = systemd.hold_of(start.unit)
        found.append((exactly("service.revive"), exactly("systemd"), exactly(start.unit), exactly(drop_in)))
    if host in inventory.gateway.hosts:
        gateway = _nginx(inventory)
        reload = exactly(shlex.join(gateway.reload))
        found.append((exactly("gateway.discard"), _staging(inventory)))
        # Of either zone: `drillctl switch` may lead to the primary, and then the other one is the way back.
        for zone in inventory.zones:
            urls = tuple(map(exactly, health_urls(inventory, zone)))
            kept = (exactly("gateway.restore"), exactly(gateway.config), SHA256, MODE, OWNER, SHA256, reload)
            found.append((*kept, *urls))
    return [*found, *faults.undos(inventory, host)] if found else []


def _staging(inventory: Inventory, after: str = "") -> Argument:
    return RUN.within(f"{dirname(inventory.gateway.config)}/.drillctl-", after)


def _in_place_test(inventory: Inventory, zone: str) -> Argument:
    """Return the command line by which a zone's candidate is tested again at the moment of the switch."""
    gateway = _nginx(inventory)
    candidate = f"{dirname(gateway.config)}/.drillctl-{_RUN_HERE}/{zone}.candidate"
    before, _, after = shlex.join(in_place(candidate, gateway.config, gateway.test)).partition(_RUN_HERE)
    return RUN.within(before, after)
