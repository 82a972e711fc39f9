"""verify: prove that a zone serves through the gateway: sustained, with the same outputs, named in the access log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import requests

from drillctl.errors import GatewayError
from drillctl.gateway.nginx_config import normalised
from drillctl.steps import fault, golden

if TYPE_CHECKING:
    from drillctl.language import VerifyStep
    from drillctl.run import Run
    from drillctl.traffic.probe import Probe

PATIENCE = 30.0
"""Seconds beyond the observation window within which a whole window of good answers must have been seen."""


def carry_out(run: Run, step: VerifyStep) -> None:
    """Verify a zone. Raises GatewayError or Inconclusive when it does not serve; unequal outputs are only noted."""
    _, gateway = run.live()
    zone = run.inventory.zone(step.zone)
    fault.gather(run)
    with run.step("verify") as done:
        mark = gateway.access_mark()
        observe(run, zone.name)
        answers = golden.through_gateway(run, zone.name)
        run.findings.answers[step.zone] = answers
        result = golden.equality(run, answers) if run.findings.baseline else None
        if result is None:
            pass
        elif step.zone == "standby":
            run.findings.standby_serving = result
        else:
            run.findings.primary_restored = result
        if run.section == "steps":
            fault.still_struck(run)
        health(run)
        served = gateway.served_since(mark)
        log = _say_log(run, served.by_address, zone.name, served.reason)
        compared = golden.in_words(result) if result else f"{len(answers)} images answered"
        done.detail = f"{zone.name} serves; {compared}; {log}"


def observe(run: Run, zone: str) -> None:
    """Wait for a whole observation window of good answers from a zone. Raises GatewayError without one."""
    window = run.playbook.traffic.observation_seconds
    since = time.monotonic()
    deadline = since + window + PATIENCE

    def sustained(probes: list[Probe]) -> bool:
        ordered = sorted(probes, key=lambda probe: probe.scheduled)
        bad = [probe.scheduled for probe in ordered if not (probe.ok and probe.zone == zone)]
        good_since = max([since, *bad])
        return bool(ordered) and ordered[-1].scheduled - good_since >= window

    while not run.sending().wait_for(lambda p: sustained(p) or None, 0.5, since):
        run.interrupt.check()
        if time.monotonic() > deadline:
            raise GatewayError(f"{zone} did not serve {window:g} s without a bad answer", state="see probes.jsonl")


def health(run: Run) -> None:
    """Ask the service's health through the gateway, as a client. Raises GatewayError when it is not 200."""
    url = run.inventory.gateway.url.rstrip("/") + run.inventory.service.paths.health
    with requests.Session() as session:
        session.trust_env = False
        try:
            status = session.get(url, timeout=5).status_code
        except requests.RequestException as error:
            raise GatewayError(f"{url} gave no answer ({type(error).__name__})") from None
    if status != 200:
        raise GatewayError(f"{url} answers {status}, not 200")


def _say_log(run: Run, by_address: object, zone: str, reason: str | None) -> str:
    if not isinstance(by_address, dict):
        return f"the access log does not tell ({reason})"
    hosts = [host for z in run.inventory.zones if z.name == zone for host in z.hosts]
    own = {normalised(run.inventory.upstream(host)) for host in hosts}
    named = sum(number for address, number in by_address.items() if normalised(address) in own)
    return f"access log: {named} of {sum(by_address.values())} by it"
