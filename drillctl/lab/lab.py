"""The lab: real hosts on one machine. `up` makes them, `current` finds them, `down` removes every trace.

Everything lies in one folder of the user's own (place.py). The ledger in it lists what was made (ledger.py); `lab.json`
is written last, so a folder without it is what a killed `up` left.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from drillctl.errors import NotStarted, UsageError
from drillctl.lab import daemons, estate, ground, machines, place, removal, sources
from drillctl.lab.place import Site
from drillctl.lab.process import Process
from drillctl.lab.sshfiles import SSH_CONFIG

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drillctl.inventory import GatewayKind

Driver = Literal["systemd", "process"]
Choice = Literal["auto", "systemd", "process"]
BOOT_SECONDS = 30.0
"""How long the hosts may take to answer; they take about two seconds."""

_RECORD = "lab.json"


@dataclass(frozen=True)
class LabHost:
    """One host of a lab; `zone` is None for the gateway."""

    name: str
    address: str
    ssh_port: int
    zone: str | None


@dataclass(frozen=True)
class Lab:
    """A lab that is up. `cannot_prove` names what this kind of lab cannot show."""

    driver: Driver
    folder: Path
    inventory: Path
    hosts: tuple[LabHost, ...]
    cannot_prove: tuple[str, ...]
    url: str
    model: Path
    model_sha256: str
    gateway: GatewayKind = "nginx"
    fallback: str | None = None
    """Why the lab is made of processes though nobody asked for that; None otherwise."""

    def ssh_command(self, host: str, argv: Sequence[str] = ()) -> list[str]:
        """Return the ssh client's words that run a command on a host, or a shell without one.

        Raises UsageError for a host that the lab does not have.
        """
        self._known(host)
        ssh = [ground.required("ssh"), "-F", str(self.folder / SSH_CONFIG), host]
        return [*ssh, "--", shlex.join(argv)] if argv else ssh

    def root_command(self, host: str, argv: Sequence[str] = ()) -> list[str]:
        """Return the words that run a command on a host as its root, or a shell without one; not by SSH.

        Nobody logs in to a machine as root: this goes in from the machine below. A host that is processes belongs to
        the user of the lab, who is all the root that it has. Raises UsageError for a host that the lab does not have,
        NotStarted for a machine that is down.
        """
        self._known(host)
        if self.driver == "process":
            return self.ssh_command(host, argv)
        leader = machines.leader(place.ledger(), host)
        if leader is None:
            raise NotStarted("the machine does not run", host=host, hint="`drillctl lab down`, then `drillctl lab up`")
        return machines.enter(leader, argv)

    def _known(self, host: str) -> None:
        names = [known.name for known in self.hosts]
        if host not in names:
            raise UsageError(f"the lab has no host `{host}`", hint=f"its hosts are {', '.join(names)}")


def current() -> Lab | None:
    """Return the lab that is up; None when there is none, or only what a killed `up` left."""
    try:
        record = json.loads((place.folder() / _RECORD).read_bytes())
    except (OSError, ValueError):
        return None
    return Lab(
        driver=record["driver"],
        folder=place.folder(),
        inventory=place.folder() / estate.INVENTORY,
        hosts=tuple(LabHost(**host) for host in record["hosts"]),
        cannot_prove=tuple(record["cannot_prove"]),
        url=record["url"],
        model=Path(record["model"]),
        model_sha256=record["model_sha256"],
        gateway=record["gateway"],
        fallback=record["fallback"],
    )


def up(
    driver: Choice = "auto",
    model: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    gateway: GatewayKind | None = None,
) -> Lab:
    """Make a lab and return it when all hosts answer over SSH; one that is up and fits is returned as it is.

    `auto` takes machines where they can be had, else processes; without a model it is the sample model, or what the
    lab that is up serves; without a kind of gateway it is `nginx`, or what is up. `say` is told what is going on, a
    line at a time.
    Raises NotStarted when it cannot be made (everything is removed again) or another one is up.
    """
    with place.locked(make=True):
        ledger = place.ledger()
        there = current()
        if there is not None and not removal.lifeless(ledger):
            return _fitting(there, driver, model, gateway)
        if removal.clear(ledger):
            say("removed what an unfinished `lab up` left")
        try:
            chosen, fallback = _choose(driver)
            return _build(
                Site(ledger.path.parent, ledger, sources.model_folder(model)), chosen, gateway or "nginx", fallback, say
            )
        except BaseException:
            removal.remove(ledger)
            raise


def down() -> list[str]:
    """Remove the lab, or what a killed `up` left of it; return what was removed, nothing when there was none.

    Raises NotStarted when it runs in the lab itself, or another `up` or `down` is at work.
    """
    tokens = [thing.name.partition("=") for thing in place.ledger().things() if thing.kind == "token"]
    if any(os.environ.get(name) == value for name, _, value in tokens):
        raise NotStarted("this shell runs in the lab itself", hint="leave it first", state="the lab was left as it is")
    with place.locked(make=False) as there:
        return removal.remove(place.ledger()) if there else []


def answering(lab: Lab) -> dict[str, bool]:
    """Return for each host whether it answers over SSH now."""
    with ThreadPoolExecutor(len(lab.hosts)) as threads:
        answers = threads.map(lambda host: _answers(lab, host), lab.hosts)
        return {host.name: answer for host, answer in zip(lab.hosts, answers, strict=True)}


def _choose(driver: Choice) -> tuple[Driver, str | None]:
    """Return the driver to use, and why it is not the one that `auto` would rather have."""
    if driver == "process":
        return "process", None
    absent = ground.missing(ground.FOR_MACHINES) if os.geteuid() == 0 else ()
    if driver == "systemd":
        if absent:
            raise ground.lacking(absent)
        reason = ground.obstacle()
        if reason:
            raise NotStarted(
                f"this machine lets the lab have no machines of its own: {reason}",
                hint="use `--driver process`, or another machine as root",
                state="nothing was changed",
            )
        return "systemd", None
    reason = f"{', '.join(absent)} not installed" if absent else ground.obstacle()
    return ("process", reason) if reason else ("systemd", None)


def _build(site: Site, driver: Driver, kind: GatewayKind, fallback: str | None, say: Callable[[str], None]) -> Lab:
    if fallback:
        say(f"the lab's hosts are processes, not machines: {fallback}")
    plan, logins = machines.build(site, kind) if driver == "systemd" else daemons.build(site, kind)
    cannot_prove = machines.CANNOT_PROVE if driver == "systemd" else daemons.CANNOT_PROVE
    inventory = site.folder / estate.INVENTORY
    inventory.write_text(estate.as_yaml(plan), encoding="utf-8")
    zones = {host: estate.zone_of(host) for host in estate.HOSTS}
    lab = Lab(
        driver=driver,
        folder=site.folder,
        inventory=inventory,
        hosts=tuple(
            LabHost(login.host, login.address, login.port, zone.name if (zone := zones[login.host]) else None)
            for login in logins
        ),
        cannot_prove=cannot_prove,
        url=plan.gateway.url,
        model=site.model.folder,
        model_sha256=site.model.sha256,
        gateway=kind,
        fallback=fallback,
    )
    _await(lab, site, say)
    record = asdict(lab) | {"model": str(lab.model)}
    del record["folder"], record["inventory"]
    part = site.folder / f"{_RECORD}.part"
    part.write_text(json.dumps(record), encoding="utf-8")
    part.replace(site.folder / _RECORD)
    return lab


def _fitting(lab: Lab, driver: Choice, model: Path | None, gateway: GatewayKind | None) -> Lab:
    """Return the lab that is up if it is what was asked for and whole. Raises NotStarted."""
    hint, state = "`drillctl lab down` removes it", "it was left as it is"
    if driver not in ("auto", lab.driver):
        raise NotStarted(f"a lab is already up, with the driver `{lab.driver}`", hint=hint, state=state)
    if model is not None and sources.model_folder(model).sha256 != lab.model_sha256:
        raise NotStarted(f"a lab is already up, with another model ({lab.model})", hint=hint, state=state)
    if gateway not in (None, lab.gateway):
        raise NotStarted(f"a lab is already up, with a gateway of the kind `{lab.gateway}`", hint=hint, state=state)
    silent = [name for name, answer in answering(lab).items() if not answer]
    if silent:
        raise NotStarted(f"a lab is already up, but silent: {', '.join(silent)}", hint=hint, state=state)
    return lab


def _await(lab: Lab, site: Site, say: Callable[[str], None]) -> None:
    """Wait until every host lets its user in and the gateway listens. Raises NotStarted with what a host said."""
    deadline = time.monotonic() + BOOT_SECONDS
    programs = {thing.name: Process(thing.pid, thing.started) for thing in site.ledger.things() if thing.pid}
    given_up = threading.Event()

    def abandoned(name: str, host: str) -> bool:
        """Wait a moment; tell whether another host has failed. Raises NotStarted when this one has."""
        alive = name not in programs or programs[name].alive
        if alive and time.monotonic() < deadline:
            return given_up.wait(0.02)
        said = site.last_line(f"{name}.log") or (machines.last_error(site, host) if lab.driver == "systemd" else "")
        why = f"did not answer within {BOOT_SECONDS:.0f} s" if alive else "ended at once"
        what = why if name == host else f"{name} {why}"
        raise NotStarted(what + (f"; the last it said: {said}" if said else ""), host=host)

    def wait(host: LabHost) -> None:
        while not _answers(lab, host):
            if abandoned(host.name, host.name):
                return
        say(f"{host.name} answers at {host.address}")

    with ThreadPoolExecutor(len(lab.hosts)) as threads:
        try:
            list(threads.map(wait, lab.hosts))
        except BaseException:
            given_up.set()  # the other threads would otherwise be waited for until the deadline
            raise
    gateway = urlsplit(lab.url)
    while not _listening(gateway.hostname or "", gateway.port or 80):
        abandoned("haproxy" if lab.gateway == "haproxy" else "nginx", estate.GATEWAY)


def _answers(lab: Lab, host: LabHost) -> bool:
    """Tell whether a host runs a command for its user; the port alone would only show that something listens."""
    if not _listening(host.address, host.ssh_port):
        return False
    argv = lab.ssh_command(host.name, ["true"])
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=10)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _listening(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=0.25).close()
    except OSError:
        return False
    return True
