"""The golden set: ask each image once, through the gateway or of one host, and compare the answers."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from urllib3 import encode_multipart_formdata

from drillctl import survey
from drillctl.compare import answers
from drillctl.compare.equality import Equality, Exact, Rule, Tolerance, compare, digest
from drillctl.errors import Inconclusive
from drillctl.hosts import http
from drillctl.playbook import images

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drillctl.inventory import Host
    from drillctl.run import Run

TIMEOUT = 10.0
"""Seconds for one image; the clients' own timeout is not used, because this is no load but a question."""

ATTEMPTS = 3
"""How often an image is asked that is answered with 503, a second apart."""


def rule_of(run: Run) -> Rule:
    """Return the playbook's rule for equal outputs."""
    outputs = run.playbook.objectives.outputs
    return Exact() if outputs == "exact" else Tolerance(outputs.score_abs)


def through_gateway(run: Run, zone: str, most: int | None = None) -> dict[str, bytes]:
    """Ask every image through the gateway, or at `most` so many; return the bodies by image.

    An image that is answered with 503 is asked again: a full queue is a matter of load, which the traffic measures.
    Raises Inconclusive when one is not answered with 200, or not by the zone: then it would compare the wrong thing.
    """
    service = run.inventory.service
    url = run.inventory.gateway.url.rstrip("/") + service.paths.predict
    found: dict[str, answers.Answer] = {}
    open_images = images(run.playbook)[:most]
    for attempt in range(ATTEMPTS):
        if attempt:
            run.interrupt.sleep(1.0)
        ask = functools.partial(
            answers.ask, url, open_images, TIMEOUT, zone_header=service.zone_header, host_header=service.host_header
        )
        found |= run.listening(ask)
        open_images = tuple(path for path in open_images if found[path.name].status == 503)
        if not open_images:
            break
    for name, answer in sorted(found.items()):
        if answer.status != 200:
            raise Inconclusive(f"the gateway answered {name} with {answer.status or answer.error}")
        if answer.zone != zone:
            raise Inconclusive(f"{name} was answered by {answer.zone or 'an unnamed zone'}, not by {zone}")
    return {name: answer.body for name, answer in found.items()}


def of_host(run: Run, host: Host) -> dict[str, bytes]:
    """Ask every image of one host's server, the way the gateway would. Raises HostError or Inconclusive.

    An image that is answered with 503 is asked again: behind some gateways it may have clients already.
    """
    fleet, _ = run.live()
    transport, address, port = survey.way_to(run.inventory, fleet, host)
    found: dict[str, bytes] = {}
    for path in images(run.playbook):
        body, content_type = encode_multipart_formdata({"file": (path.name, path.read_bytes())})
        for attempt in range(ATTEMPTS):
            if attempt:
                run.interrupt.sleep(1.0)
            reply = http.request(
                transport,
                address,
                port,
                run.inventory.service.paths.predict,
                body=body,
                content_type=content_type,
                timeout=TIMEOUT,
            )
            if reply.status != 503:
                break
        if reply.status != 200:
            raise Inconclusive(f"it answered {path.name} with {reply.status}", host=host.name)
        found[path.name] = reply.body
    return found


def equality(run: Run, other: Mapping[str, bytes]) -> Equality:
    """Compare answers with the baseline by the playbook's rule, and note those that agree.

    Of what clients are answered under load only the digest is recorded, which cannot be compared within a tolerance.
    """
    result = compare(run.findings.baseline, other, rule_of(run))
    differing = {difference.image for difference in result.different}
    for image, body in other.items():
        if image not in differing and (found := digest(body)) is not None:
            run.findings.accepted.setdefault(image, set()).add(found)
    return result


def in_words(result: Equality) -> str:
    """Say a comparison in one line."""
    if result.equal:
        return f"{result.identical} of {result.compared} outputs identical"
    first = result.different[0]
    return f"{len(result.different)} of {result.compared} outputs differ; first {first.image}: {first.what}"
