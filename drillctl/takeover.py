"""Taking over a run whose drillctl is gone: which hosts are still its own, by what their guards hold, and which not.

A journal does not know what became of its run: the guards may have undone everything long ago, and others may have
changed the estate since. So a host is touched only while its guard holds the run, or a gateway's guard still waits for
the host to be well. What the journal names on a host whose guard has let go of the run is struck out; what it names on
a host that cannot be asked stays outstanding.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from drillctl import survey
from drillctl.errors import DrillctlError, HostError
from drillctl.gateway.gateway import GatewayConfig, Staged
from drillctl.gateway.kinds import gateway_of
from drillctl.guard import recovery
from drillctl.guard.guards import Guards
from drillctl.hosts import fleet as fleets
from drillctl.hosts.fleet import Fleet
from drillctl.hosts.service import manager_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from drillctl.guard.lease import Holding
    from drillctl.run import Run
    from drillctl.undo import Undo

Standing = Literal["ours", "over", "unknown", "away"]
"""What a host is to a run: still its own; let go by its guard; without any record of leases; not to be asked."""


@dataclass
class Taken:
    """What was taken over: the `hosts` that are the run's own, what was not touched and is `over`, what is `left`.

    `over` and `left` are in words; what is left stays outstanding in the journal.
    """

    hosts: set[str] = field(default_factory=set)
    over: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def standings(
    run_id: str, holdings: Mapping[str, Holding], gateways: Collection[str], *, insist: bool
) -> dict[str, Standing]:
    """Return what each host is to a run, by what its guard holds (pure).

    A drill takes every gateway's lease before any other. So while a gateway's guard holds the run, no other drill has
    come after it, and the hosts of the zones are the run's as well: the gateway waits until they are well.
    `insist`: a host whose guard has no record of any lease counts as the run's own.
    """
    ours = {name for name, held in holdings.items() if held.run == run_id}
    gateway_waits = not ours.isdisjoint(gateways)

    def of(name: str, held: Holding) -> Standing:
        if name in ours:
            return "ours"
        if held.state != "free":
            return "over"
        if gateway_waits and name not in gateways:
            return "ours"
        if held.epoch == 0:
            return "ours" if insist else "unknown"
        return "over"

    return {name: of(name, held) for name, held in holdings.items()}


def carry_out(run: Run, *, insist: bool) -> Taken:
    """Log in where that is possible, ask the guards, and take the leases of the hosts that are still the run's own.

    The run is narrowed to these: its undos, its gateway, and the config to put back. Raises Held when another drill
    took such a host meanwhile, and HostError when one was lost; nothing was changed on any host then.
    """
    with run.step("connect") as done:
        fleet, errors = fleets.connect_all(run.inventory)
        run.fleet = fleet
        holdings = _ask(run, fleet, errors)
        gateways = [host.name for host in run.inventory.gateway.hosts]
        found: dict[str, Standing] = {**standings(run.run_id, holdings, gateways, insist=insist)}
        found |= dict.fromkeys(errors, "away")
        taken = Taken({name for name, standing in found.items() if standing == "ours"})
        _narrow_undos(run, found, holdings, errors, taken)
        _narrow_gateway(run, taken.hosts)
        for host in (host for zone in run.inventory.zones for host in zone.hosts):
            if host.name in fleet.transports:
                run.services[host.name] = manager_of(run.inventory, host, fleet[host])
        own = Fleet(run.inventory, {name: fleet[name] for name in taken.hosts})
        guards = Guards(run.inventory, own, run.run_id, run.playbook.guard.ttl_seconds)
        guards.acquire(again=True)
        guards.start_beats(run.lost)
        run.guards = guards
        _register_again(run, {name for name in taken.hosts if holdings[name].epoch == 0})
        done.detail = f"the lease is ours on {', '.join(sorted(taken.hosts)) or 'no host'}"
        if errors:
            done.detail += f"; out of reach: {', '.join(sorted(errors))}"
    return taken


def _ask(run: Run, fleet: Fleet, errors: dict[str, DrillctlError]) -> dict[str, Holding]:
    """Return what the guards hold; a host whose guard cannot be asked is as one that is out of reach."""
    holdings: dict[str, Holding] = {}
    for name, answer in recovery.ask(run.inventory, fleet).items():
        if isinstance(answer, DrillctlError):
            errors[name] = answer
            fleet.transports.pop(name).close()
        else:
            holdings[name] = answer
    return holdings


def _narrow_undos(
    run: Run,
    found: Mapping[str, Standing],
    holdings: Mapping[str, Holding],
    errors: Mapping[str, DrillctlError],
    taken: Taken,
) -> None:
    """Leave the run the undos of its own hosts; strike out what is over, and set aside what cannot be told."""
    _split(run, found)
    over: dict[str, None] = {}
    for undo in reversed(list(run.outstanding)):
        if undo.kind == "service.stop":
            continue  # no guard holds it, and recovering stops nothing
        hosts = _hosts(run, undo)
        standing = found.get(hosts[0])
        if standing == "ours":
            continue
        run.outstanding.done(undo)
        if standing == "over":
            run.journal.undone(undo)
            over |= dict.fromkeys(hosts)
        else:
            taken.left += [f"{name}: {undo.words}: {_why_not(name, found, errors)}" for name in hosts]
    taken.over += [_let_go(run, name, holdings[name]) for name in over]


def _why_not(name: str, found: Mapping[str, Standing], errors: Mapping[str, DrillctlError]) -> str:
    """Say why it cannot be told whether something was undone on a host."""
    if name in errors:
        error = errors[name]
        said = error.message if error.host == name else str(error)
        return f"{said}{f'; {error.hint}' if error.hint else ''}; its guard undoes by itself"
    if name not in found:
        return "there is no such host in the inventory"
    return (
        "its guard has no record of this run or any other, so that nobody knows whether it was undone; nothing was "
        "touched there. If nobody has changed it since, `drillctl recover --insist` goes by the journal alone"
    )


def _split(run: Run, found: Mapping[str, Standing]) -> None:
    """Make an undo of all gateways one for each of them, where these are not all the same to the run."""
    gateways = [host.name for host in run.inventory.gateway.hosts]
    if len({found[name] for name in gateways}) == 1:
        return
    for undo in reversed(list(run.outstanding)):
        if undo.host:
            continue
        # Before the one is struck out, so that none is lost when this is killed.
        for part in (replace(undo, host=name) for name in gateways):
            run.journal.intent("recover", part.host, part)
            run.outstanding.add(part)
        run.outstanding.done(undo)
        run.journal.undone(undo)


def _hosts(run: Run, undo: Undo) -> list[str]:
    return [undo.host] if undo.host else [host.name for host in run.inventory.gateway.hosts]


def _let_go(run: Run, name: str, held: Holding) -> str:
    """Say why nothing was touched on a host, and how it is now."""
    who = f"{held.run}, by {held.owner}, holds it since {held.since}: " if held.state != "free" else ""
    words = f"{name}: {who}nothing was touched there; its guard had undone what this run did, or was told to forget it"
    if run.inventory.zone_of(name) is not None:
        return f"{words}. {_server(run, name)}"
    before = [config for config in run.original.hosts if config.host == name] if run.original else []
    if not before or run.fleet is None:
        return words
    only = tuple(host for host in run.inventory.gateway.hosts if host.name == name)
    options = run.inventory.gateway.model_copy(update={"hosts": only})
    alone = run.inventory.model_copy(update={"gateway": options})
    try:
        (now,) = gateway_of(alone, run.fleet.transports, run.run_id).read().hosts
    except DrillctlError as error:
        return f"{words}. Its config could not be read: {error}"
    if (now.content, now.choice) == (before[0].content, before[0].choice):
        return f"{words}. Its config is the one from before the run"
    return f"{words}. Its config is not the one from before the run: see whether that is as it is meant"


def _server(run: Run, name: str) -> str:
    """Say whether a host's server is ready: its guard does not wait for that."""
    if run.fleet is None:
        return "Its server was not asked"
    try:
        path = run.inventory.service.paths.health
        health = survey.read_health(survey.ask(run.inventory, run.fleet, run.host(name), path, timeout=2.0))
    except HostError as error:
        return f"Its server does not answer ({error.message}): see whether that is as it is meant"
    return "Its server is ready" if health.ready else f"Its server is not ready: {health}"


def _narrow_gateway(run: Run, own: Collection[str]) -> None:
    """Let the run know only the gateways that are its own; where none is, there is nothing to be put back on one."""
    hosts = tuple(host for host in run.inventory.gateway.hosts if host.name in own)
    if not hosts or run.fleet is None:
        run.original = run.staged = None
        return
    options = run.inventory.gateway.model_copy(update={"hosts": hosts})
    run.inventory = run.inventory.model_copy(update={"gateway": options})
    run.gateway = gateway_of(run.inventory, run.fleet.transports, run.run_id)
    if run.original is not None:
        kept = tuple(config for config in run.original.hosts if config.host in own)
        run.original = GatewayConfig(kept, run.original.configured_zone) if kept else None
    if run.staged is not None:
        run.staged = Staged(run.staged.zone, tuple(host for host in run.staged.hosts if host.host in own))


def _register_again(run: Run, hosts: Collection[str]) -> None:
    """Have guards that knew of no lease hold the undos: else they would look as if they had undone everything."""
    for undo in run.outstanding:
        if undo.kind != "service.stop" and not set(_hosts(run, undo)).isdisjoint(hosts):
            run.guard(undo)
