"""One look at one host, as the patrol stores it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Sample:
    """What one host was like at one moment; None: not known, or of no meaning for this kind of host.

    `at` is the moment, with a timezone; it is kept to the microsecond in UTC. `role` is primary, standby or gateway; a
    gateway host has no zone. `health` is the word that `drillctl status` shows. `latency_seconds` is how long the
    answer took. `model_sha256` is the hash of the model as loaded, `fingerprint` a hash over the environment. A gateway
    host has `config_sha256` and `configured_zone`; `serving_zone` is the zone that answered a client. `problem` says
    in words what is wrong.
    """

    at: datetime
    inventory: str
    host: str
    role: str
    health: str
    ready: bool
    zone: str | None = None
    latency_seconds: float | None = None
    model_sha256: str | None = None
    fingerprint: str | None = None
    config_sha256: str | None = None
    configured_zone: str | None = None
    serving_zone: str | None = None
    problem: str | None = None
