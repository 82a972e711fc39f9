"""steady state: everything that must hold before anything is broken. Any doubt refuses the drill."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from drillctl import machine, survey
from drillctl.compare.identity import compare_identity, worst
from drillctl.compare.isolation import HostFacts, violations
from drillctl.errors import GatewayError, NotStarted
from drillctl.gateway.kinds import words
from drillctl.gateway.passive_traps import outlasting
from drillctl.hosts.fleet import each
from drillctl.inventory import NginxPassive
from drillctl.overview import serving_zone, wrong_role
from drillctl.steps import capacity, golden

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from drillctl.compare.identity import Difference
    from drillctl.playbook import Check
    from drillctl.run import Run


def carry_out(run: Run) -> None:
    """Make every check that the playbook names. Raises NotStarted, GatewayError or HostError at the first doubt."""
    fleet, _ = run.live()
    with run.step("survey") as done:
        run.findings.surveys = each(run.zone_hosts(), functools.partial(survey.survey, run.inventory, fleet))
        programs = {host.name: (run.inventory.gateway.kind,) for host in run.inventory.gateway.hosts}
        run.findings.machines = each(
            [host for host in run.inventory.hosts if host.name in fleet.transports],
            lambda host: machine.look(fleet[host].beside(), *programs.get(host.name, ())),
        )
        done.detail = f"{len(run.findings.surveys)} zone hosts asked"
    for check in run.playbook.steady_state:
        run.interrupt.check()
        with run.step(check) as done:
            done.detail = _CHECKS[check](run)


def _health(run: Run) -> str:
    for host in run.findings.surveys.values():
        if host.problem or not host.health.ready:
            raise NotStarted(f"{host.name} is not healthy: {host.problem or host.health}")
    return "200 on every zone host, asked from the gateway"


def _role(run: Run) -> str:
    for host in run.findings.surveys.values():
        if wrong := wrong_role(host):
            raise NotStarted(wrong, hint="set SERVICE_NAME to main in the primary zone and to backup in the standby")
    return "as declared"


def _model(run: Run) -> str:
    expected = run.inventory.service.model.sha256
    for host in run.findings.surveys.values():
        for where, found in (("on disk", host.sha256_disk), ("as loaded", host.sha256_loaded)):
            if found != expected:
                raise NotStarted(
                    f"{host.model_path} on {host.name} is {found or 'unknown'} {where}, pinned is {expected}",
                    hint="put the pinned model on that host and restart its server, or pin the hash that you mean",
                )
    return f"sha256 {expected[:16]}… on disk and as loaded, everywhere"


def _environment(run: Run) -> str:
    hosts = list(run.findings.surveys.values())
    reference = next(host for host in hosts if host.role == "primary")
    found = worst(d for host in hosts for d in compare_identity(reference.info, host.info))
    run.findings.identity = found
    mattering = [d for d in found if d.changes_outputs == "yes"]
    unknown = [d for d in found if d.changes_outputs == "unknown"]
    if unknown:
        run.findings.not_proven.append(f"same environment: {_said(unknown)}")
    if not mattering:
        same = "no difference is known to change outputs" if unknown else "the same in every zone"
        counts = ((len(unknown), "of unknown effect"), (len(found) - len(unknown), "harmless"))
        return "; ".join([same, *(f"{number} {kind}" for number, kind in counts if number)])
    said = _said(mattering)
    if waiver := run.inventory.waived("environment"):
        run.findings.not_proven.append(f"same environment: {said}. Waived: {waiver.reason}")
        return "waived: " + said
    raise NotStarted(
        f"the zones do not run in the same environment: {said}",
        hint="make them equal, or add a waiver for `environment` to the inventory",
    )


def _said(differences: Iterable[Difference]) -> str:
    return "; ".join(f"{d.key}: {d.primary} and {d.standby} ({d.why})" for d in differences)


def _isolation(run: Run) -> str:
    fleet, _ = run.live()

    def facts(zone: str, domain: str, address: str, name: str) -> HostFacts:
        machine, boot = survey.machine_facts(fleet[name])
        return HostFacts(
            host=name,
            zone=zone,
            machine_id=machine,
            boot_id=boot,
            host_key=fleet[name].host_key(),
            address=address,
            failure_domain=domain,
        )

    gathered = [
        facts(zone.name, zone.failure_domain, host.address, host.name)
        for zone in run.inventory.zones
        for host in zone.hosts
    ]
    found = [violation.what for violation in violations(gathered)]
    if not found:
        return "machine-id, boot-id, host key, address and failure domain all differ"
    if waiver := run.inventory.waived("isolation"):
        run.findings.not_proven.append(f"isolation: {'; '.join(found)}. Waived: {waiver.reason}")
        return "waived: " + "; ".join(found)
    raise NotStarted(
        f"the zones are not isolated: {'; '.join(found)}",
        hint="a drill between them would prove nothing; place them apart, or add a waiver to the inventory",
    )


def check_config(run: Run) -> None:
    """Look at the gateway's config alone, before any server is started for a drill that it would refuse anyway.

    Raises GatewayError or NotStarted unless it names the primary.
    """
    if "gateway" in run.playbook.steady_state:
        with run.step("config", ", ".join(host.name for host in run.inventory.gateway.hosts)) as done:
            primary = _configured_for_primary(run)
            done.detail = f"{words(run.inventory, primary).names} names {primary}"


def _configured_for_primary(run: Run) -> str:
    """Return the primary's name. Raises GatewayError or NotStarted when the gateway is configured for anything else."""
    _, gateway = run.live()
    primary = run.inventory.zone("primary").name
    config = gateway.read()
    if config.configured_zone is None:
        raise GatewayError(f"the gateway's config names no single zone: {config.reason}", state="nothing was changed")
    if run.keep and config.configured_zone == run.inventory.zone("standby").name:
        raise NotStarted(f"the gateway is configured for {config.configured_zone} already")
    if config.configured_zone != primary:
        raise NotStarted(
            f"the gateway is configured for {config.configured_zone}, not for the primary {primary}",
            hint="`drillctl recover` puts it back if a drill left it so; otherwise point it at the primary, "
            "or swap the roles in the inventory",
        )
    return primary


def _gateway(run: Run) -> str:
    _, gateway = run.live()
    primary = _configured_for_primary(run)
    gateway.test()
    _check_patience(run)
    zone, problem = serving_zone(run.inventory)
    if problem:
        raise GatewayError(problem, state="nothing was changed")
    if zone != primary:
        raise GatewayError(
            f"the gateway is configured for {primary}, but {zone} answers",
            state="nothing was changed",
            hint="its last reload was not applied: look at its error log",
        )
    shared = gateway.check_path(primary)
    if len(run.inventory.gateway.hosts) > 1 and shared:
        run.findings.not_proven.append(
            f"that each gateway host is switched: {', '.join(shared)} answer at {run.inventory.gateway.url} only"
        )
    return f"configured for {primary}, test green, {primary} answers"


def _check_patience(run: Run) -> None:
    """Raise GatewayError where a gateway that fails over by itself gives up a frozen zone later than its clients do."""
    _, gateway = run.live()
    options, clients = run.inventory.gateway, run.playbook.traffic.timeout_seconds
    if not isinstance(options, NginxPassive):
        return
    for config in gateway.read().hosts:
        if found := outlasting(config.content, options.upstream, clients):
            raise GatewayError(
                f"nginx would go on sending to a frozen zone, as it does not give up before clients do: {found[0]}",
                host=config.host,
                state="nothing was changed",
                hint="set proxy_read_timeout above the slowest answer and below what clients wait; the playbook says "
                "the latter as `traffic.timeout_seconds`",
            )


def _equality(run: Run) -> str:
    primary = run.inventory.zone("primary").name
    run.findings.baseline = golden.through_gateway(run, primary)
    if run.playbook.objectives.outputs != "exact":
        # With a tolerance, how far the primary is from itself says how much of a difference is noise.
        run.findings.noise = golden.equality(run, golden.through_gateway(run, primary)).score_difference
    for host in run.inventory.zone("standby").hosts:
        answered = golden.of_host(run, host)
        run.findings.answers["standby"] = answered
        result = golden.equality(run, answered)
        run.findings.standby_before = result
        if not result.equal:
            raise NotStarted(
                f"{host.name} does not answer as the primary does: {golden.in_words(result)}",
                hint="compare both servers' /info; clients would see other answers after a failover",
            )
    return f"standby asked directly: {golden.in_words(result)}"


_CHECKS: dict[Check, Callable[[Run], str]] = {
    "health": _health,
    "role": _role,
    "model": _model,
    "environment": _environment,
    "isolation": _isolation,
    "gateway": _gateway,
    "equality": _equality,
    "capacity": capacity.check,
}
