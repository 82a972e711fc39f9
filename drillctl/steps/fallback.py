"""fallback: prove that clients get the fallback answer, at once and in its form, while no zone serves."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import requests

from drillctl.errors import GatewayError
from drillctl.playbook import images
from drillctl.run import Fallback

if TYPE_CHECKING:
    from drillctl.language import FallbackStep
    from drillctl.run import Run
    from drillctl.traffic.probe import Probe


def carry_out(run: Run, step: FallbackStep) -> None:
    """Watch what clients get. Raises GatewayError when it is not 503 with a JSON object, every time, in time."""
    with run.step("fallback") as done:
        body = _body(run, step)
        since = time.monotonic()
        deadline = since + step.observe_seconds + step.within_seconds

        def seen(probes: list[Probe]) -> list[Probe] | None:
            ordered = sorted(probes, key=lambda probe: probe.scheduled)
            bad = [p.scheduled for p in ordered if p.status != 503 or p.latency > step.answer_seconds]
            good = [p for p in ordered if p.scheduled > max([since, *bad])]
            return good if good and good[-1].scheduled - good[0].scheduled >= step.observe_seconds * 0.9 else None

        good = None
        while good is None:
            run.interrupt.check()
            if time.monotonic() > deadline:
                raise GatewayError(
                    f"clients did not get 503 within {step.answer_seconds:g} s for {step.observe_seconds:g} s",
                    hint="set the gateway's fallback up with `drillctl gateway adopt`; probes.jsonl has what they got",
                )
            good = run.sending().wait_for(seen, 0.5, since)
        slowest = max(probe.latency for probe in good)
        run.findings.fallback = Fallback(len(good), slowest, body)
        done.detail = f"{len(good)} × 503 with the fallback's JSON, the slowest after {slowest:.2f} s"


def _body(run: Run, step: FallbackStep) -> str:
    """Ask once as a client, and return the body. Raises GatewayError when it is no fallback answer."""
    url = run.inventory.gateway.url.rstrip("/") + run.inventory.service.paths.predict
    image = images(run.playbook)[0]
    deadline = time.monotonic() + step.within_seconds
    said = "no answer"
    while time.monotonic() < deadline:
        run.interrupt.check()
        with requests.Session() as session:
            session.trust_env = False
            try:
                answer = session.post(
                    url, files={"file": (image.name, image.read_bytes())}, timeout=step.answer_seconds + 5
                )
            except requests.RequestException as error:
                said = type(error).__name__
                continue
        said = f"{answer.status_code} {answer.headers.get('Content-Type', '')}"
        try:
            document = json.loads(answer.content)
        except ValueError:
            document = None
        if answer.status_code == 503 and isinstance(document, dict) and document:
            return answer.text[:2000]
        run.interrupt.sleep(0.2)
    raise GatewayError(
        f"{url} answers a client with `{said}` while no zone serves, not with 503 and a JSON object",
        hint="set the gateway's fallback up with `drillctl gateway adopt`",
    )
