"""Every program that drillctl may have to run as root on a host, with the arguments that it may be given (pure).

This list decides what an administrator installs (`installer.py`), what sudo allows (`sudoers.py`) and what a transport
runs instead of a script's text (`installed.py`). To let drillctl run one more script as root:

1. Keep the script a module-level constant, and call it by `Transport.script(..., SOURCE, *arguments, privileged=True)`.
2. Add a `Program` to `_of_zone_host` below, to the file of the gateway's kind (`nginx.py`, `nginx_reload.py`,
   `nginx_flag.py`, `haproxy.py`), or for a fault to `faults.py`: a name (it becomes the file's), what it does in a few
   words, the constant, and one variant for each way in which it is called. Pin every argument to what the inventory
   says (`exactly`); only what a run decides may vary, as one of the patterns of `argument.py`; a tuple stands for any
   one of its members. The program on the host checks the very words that it got.
3. What it reads from stdin is not checked by that: if root acts on it, add `checks` (see `content.py`).
4. A plain command, `Transport.run([...], privileged=True)`, is a `plain(name, what it does, words)`.
5. An undo that a guard holds needs its kind in `_undos` (a gateway's and a fault's in those files): kind and
   arguments, as `guard/orders.py` makes them, and `checks` for the bytes and commands that are kept with it.
6. Files that root acts on need their paths in `watched_paths`: nobody else may write the folders above.

`tests/unit/privileges/test_registry.py` fails for a script that has no program and no reason to have none.
Ask of each: what could somebody do with it who has nothing but the drill's key? Say the answer in docs/privileges.md.
A script that is not here cannot be run with `privileges: installed`; the error names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.guard.client import ENTRY
from drillctl.hosts import systemd
from drillctl.inventory import Haproxy, NginxFlag, NginxPassive, SystemdStart
from drillctl.privileges import faults, haproxy, nginx, nginx_flag, nginx_reload
from drillctl.privileges.argument import ID, NUMBER, PERSON, RUN, SHORT, exactly
from drillctl.privileges.program import Needs, Program, Variant, plain

if TYPE_CHECKING:
    from drillctl.inventory import Host, Inventory

LAST_WORDS = 20
"""Lines of a unit's journal that may be read; what `ServiceManager.last_words` asks for."""

CHECK = """
sum=$(sha256sum </etc/sudoers.d/drillctl) && echo "sudoers ${sum%% *}"
"""
"""→ the hash of what sudo allows, which only root can read."""


def programs(inventory: Inventory, host: Host) -> tuple[Program, ...]:
    """Return the programs that drillctl needs as root on a host, by name; none where it needs no root at all."""
    found: list[Program] = []
    if host in inventory.gateway.hosts:
        found += [*_of_gateway(inventory, host).programs, *faults.of_gateway(inventory)]
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
    return _of_gateway(inventory, host).watched


def trusted_files(inventory: Inventory, host: Host) -> tuple[str, ...]:
    """Return those of them that nobody else may write themselves, whatever their folders are."""
    return _of_gateway(inventory, host).trusted if host in inventory.gateway.hosts else ()


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


def _of_gateway(inventory: Inventory, host: Host) -> Needs:
    """Return what a gateway's host needs, by the gateway's kind."""
    gateway = inventory.gateway
    if isinstance(gateway, NginxFlag):
        return nginx_flag.needs(inventory, gateway)
    if isinstance(gateway, NginxPassive):
        return nginx.passive(gateway)
    if isinstance(gateway, Haproxy):
        return haproxy.needs(inventory, gateway, host)
    return nginx_reload.needs(inventory, gateway)


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
    judged = _of_gateway(inventory, host) if host in inventory.gateway.hosts else None
    functions, checks = (judged.functions, judged.checks) if judged else ("", "")
    return Program("guard", "hold this host's lease and its undos", ENTRY, tuple(ways), functions, checks)


def _undos(inventory: Inventory, host: Host) -> list[Variant]:
    """Return the undos that a host's guard may be given: each kind with its arguments, as orders.py makes them."""
    found: list[Variant] = []
    start = inventory.service.start
    if inventory.zone_of(host.name) is not None and isinstance(start, SystemdStart):
        drop_in = systemd.hold_of(start.unit)
        found.append((exactly("service.revive"), exactly("systemd"), exactly(start.unit), exactly(drop_in)))
    if host in inventory.gateway.hosts:
        found += _of_gateway(inventory, host).undos
    return [*found, *faults.undos(inventory, host)] if found else []
