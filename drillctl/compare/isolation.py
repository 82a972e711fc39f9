"""Whether two zones can really be lost apart from each other (pure)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class HostFacts:
    """What tells one machine from another. None where it could not be read.

    `machine_id` is /etc/machine-id, `boot_id` /proc/sys/kernel/random/boot_id, `host_key` the fingerprint of the SSH
    host key, `address` the one under which the gateway reaches it, `failure_domain` what the inventory declares.
    """

    host: str
    zone: str
    machine_id: str | None
    boot_id: str | None
    host_key: str | None
    address: str
    failure_domain: str


@dataclass(frozen=True)
class Violation:
    """Something that two hosts of different zones share, or that is not known; `what` is for a person."""

    hosts: tuple[str, str]
    fact: str
    what: str


_MEANING = {
    "machine_id": "they are one installation, or one was cloned from the other",
    "boot_id": "they run on one kernel, and fail with it",
    "host_key": "SSH cannot tell them apart",
    "address": "they are one machine",
    "failure_domain": "what takes one takes the other",
}


def violations(hosts: Sequence[HostFacts]) -> tuple[Violation, ...]:
    """Return what keeps zones from being isolated from each other; empty if they are.

    Every host is held against every host of another zone; hosts of one zone may share everything. A fact that could not
    be read is a violation: what is not known is not proven. Raises ValueError if there are no two zones to compare.
    """
    if len({facts.zone for facts in hosts}) < 2:
        raise ValueError("isolation is between hosts of two zones")
    found: list[Violation] = []
    for a, b in combinations(hosts, 2):
        if a.zone == b.zone:
            continue
        for fact, mine, other in (
            ("machine_id", a.machine_id, b.machine_id),
            ("boot_id", a.boot_id, b.boot_id),
            ("host_key", a.host_key, b.host_key),
            ("address", _address(a.address), _address(b.address)),
            ("failure_domain", a.failure_domain.strip().casefold(), b.failure_domain.strip().casefold()),
        ):
            name = fact.replace("_", " ")
            if not mine or not other:
                unknown = " and ".join(facts.host for facts, value in ((a, mine), (b, other)) if not value)
                found.append(Violation((a.host, b.host), fact, f"the {name} of {unknown} is not known"))
            elif mine == other:
                what = f"{a.host} and {b.host} have the same {name}: {_MEANING[fact]}"
                found.append(Violation((a.host, b.host), fact, what))
    return tuple(found)


def _address(text: str) -> str:
    """Return an address in one spelling; names in lower case and without the final dot."""
    try:
        parsed = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return text.casefold().rstrip(".")
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)
