"""The programs of a gateway of the kind `nginx`: its config is replaced by one with other servers on (pure)."""

from __future__ import annotations

import shlex
from posixpath import dirname
from typing import TYPE_CHECKING

from drillctl.gateway import nginx_scripts as scripts
from drillctl.guard.gateway_orders import health_urls
from drillctl.privileges import content, nginx
from drillctl.privileges.argument import (
    MODE,
    NUMBER,
    OWNER,
    PIDS,
    RUN,
    SHA256,
    SHA256_OR_NOTHING,
    SHORT,
    Argument,
    exactly,
)
from drillctl.privileges.program import Needs, Program, Variant, plain

if TYPE_CHECKING:
    from drillctl.inventory import Inventory, NginxReload

_RUN_HERE = "RUN-IS-HERE"

# Kept bytes, live file, sha256, mode, owner: as `gateway.restore` is registered.
_CHECKS = 'if [ "$2 ${5:-}" = "register gateway.restore" ]; then same_rights "$6" "$8" "$9"; take_config "$6"; fi\n'


def needs(inventory: Inventory, gateway: NginxReload) -> Needs:
    """Return what such a gateway needs on each of its hosts."""
    judge = content.functions(inventory.upstream(host) for zone in inventory.zones for host in zone.hosts)
    return Needs(
        (*nginx.to_look(gateway), nginx.facts(gateway), *_to_switch(inventory, gateway, judge)),
        tuple(_undos(inventory, gateway)),
        nginx.files(gateway),
        (gateway.config,),
        judge,
        _CHECKS,
    )


def _to_switch(inventory: Inventory, gateway: NginxReload, judge: str) -> list[Program]:
    live, pidfile, error_log = exactly(gateway.config), exactly(gateway.pidfile), exactly(gateway.error_log)
    reload, nothing = exactly(shlex.join(gateway.reload)), exactly("")
    folder = _staging(gateway)
    candidates = tuple(_staging(gateway, f"/{zone.name}.candidate") for zone in inventory.zones)
    tests = tuple(_in_place_test(gateway, zone.name) for zone in inventory.zones)
    test = tuple(map(exactly, gateway.test))
    where = "the gateway's config"
    return [
        plain("gateway-dump", "show nginx's config as nginx reads it", [*gateway.test, "-T"]),
        Program("gateway-prepare", "make an empty staging folder", scripts.PREPARE, ((live, folder, pidfile),)),
        Program(
            "gateway-write",
            f"stage {where} with other servers on",
            scripts.WRITE,
            ((candidates, live),),
            judge,
            'take_config "$2"\n',
        ),
        Program(
            "gateway-try",
            "test nginx's config as it would be with a staged one in place",
            scripts.IN_PLACE,
            ((candidates, live, *test, exactly("-T")),),
        ),
        Program(
            "gateway-activate",
            "put a staged config in place, and reload",
            scripts.ACTIVATE,
            ((live, candidates, folder, nothing, SHA256, SHA256, pidfile, error_log, tests, reload),),
            judge,
            _of_one_run(inventory, gateway)
            + 'servers_only "$1" "$2" || deny "$2 changes more of the config than which servers are on, or none is"\n',
        ),
        Program(
            "gateway-put",
            f"put {where} back with other servers on, and reload",
            scripts.PUT,
            ((live, folder, MODE, OWNER, SHA256, SHA256_OR_NOTHING, pidfile, error_log, reload),),
            judge,
            'same_rights "$1" "$3" "$4"\ntake_config "$1"\n',
        ),
        Program("gateway-reload", "reload nginx", scripts.RELOAD, ((pidfile, error_log, reload),)),
        Program(
            "gateway-wait",
            "wait until a reload is in force",
            scripts.WAIT,
            ((pidfile, error_log, NUMBER, NUMBER, PIDS, SHORT),),
        ),
        Program("gateway-discard", "remove a staging folder", scripts.DISCARD, ((folder, nothing),)),
    ]


def _undos(inventory: Inventory, gateway: NginxReload) -> list[Variant]:
    found: list[Variant] = [(exactly("gateway.discard"), _staging(gateway))]
    reload = exactly(shlex.join(gateway.reload))
    # Of either zone: `drillctl switch` may lead to the primary, and then the other one is the way back.
    for zone in inventory.zones:
        urls = tuple(map(exactly, health_urls(inventory, zone)))
        found.append((exactly("gateway.restore"), exactly(gateway.config), SHA256, MODE, OWNER, SHA256, reload, *urls))
    return found


def _staging(gateway: NginxReload, after: str = "") -> Argument:
    return RUN.within(f"{dirname(gateway.config)}/.drillctl-", after)


def _in_place_test(gateway: NginxReload, zone: str) -> Argument:
    """Return the command line by which a zone's candidate is tested again at the moment of the switch."""
    before, after = _around_run(gateway, zone)
    return RUN.within(before, after)


def _around_run(gateway: NginxReload, zone: str) -> tuple[str, str]:
    """Return what is before and after the run's id in that command line."""
    candidate = f"{dirname(gateway.config)}/.drillctl-{_RUN_HERE}/{zone}.candidate"
    before, _, after = shlex.join(scripts.in_place(candidate, gateway.config, gateway.test)).partition(_RUN_HERE)
    return before, after


def _of_one_run(inventory: Inventory, gateway: NginxReload) -> str:
    """Return the shell that sees that a candidate ($2), its folder ($3) and its test ($9) are of one run and zone."""
    lines = ["run=${3##*/.drillctl-}", 'case ${2#"$3/"} in']
    for zone in inventory.zones:
        before, after = map(shlex.quote, _around_run(gateway, zone.name))
        lines.append(f'{shlex.quote(f"{zone.name}.candidate")}) is "$9" {before}"$run"{after} ;;')
    return "\n".join([*lines, "*) false ;;", 'esac || deny "$2, $3 and the test are not of one run"\n'])
