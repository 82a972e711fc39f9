"""What one look at an estate found: every zone host, every gateway host, and the zone that answers clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from drillctl.history.sample import Sample
from drillctl.printable import printable
from drillctl.routing import Configured, Served

if TYPE_CHECKING:
    from datetime import datetime

    from drillctl.guard.lease import Holding
    from drillctl.survey import Health, HostSurvey

LONGEST_PROBLEM = 2000
"""Characters of what is wrong with a host that are stored."""


@dataclass(frozen=True)
class Trouble:
    """Why a host, or something on it, could not be asked.

    `refused` means that its host key was not the known one, `bug` that drillctl failed, whatever the host may be like.
    """

    message: str
    refused: bool = False
    bug: bool = False


@dataclass(frozen=True)
class ZoneLook:
    """One zone host: what its server says, how long the answer took (seconds), and the model as it lies on disk.

    `unchecked` says why the model on disk cannot be looked at, although the host can be; `untold` what is said in the
    place of the hash of the model as loaded.
    """

    survey: HostSurvey
    trouble: Trouble | None = None
    unchecked: str | None = None
    untold: str | None = None
    latency: float | None = None
    fingerprint: str | None = None

    @property
    def name(self) -> str:
        """Return the host's name."""
        return self.survey.name

    @property
    def health(self) -> Health:
        """Return the health of its server."""
        return self.survey.health


@dataclass(frozen=True)
class GatewayLook:
    """One gateway host: its config, and the lease that its guard holds."""

    name: str
    trouble: Trouble | None = None
    config_sha256: str | None = None
    holding: Holding | None = None


@dataclass(frozen=True)
class Look:
    """An estate at one moment. `seconds` is how long the look took."""

    at: datetime
    zones: tuple[ZoneLook, ...]
    gateways: tuple[GatewayLook, ...]
    configured_zone: str | None
    configured_reason: str | None
    serving_zone: str | None
    serving_problem: str | None
    seconds: float = 0.0
    configured_known: bool = True
    serving_status: int | None = None

    @property
    def configured(self) -> Configured:
        """Return what the gateway is configured for, as far as it is known."""
        return Configured(self.configured_zone, self.configured_reason, self.configured_known)

    @property
    def served(self) -> Served:
        """Return what a client gets."""
        return Served(self.serving_zone, self.serving_status, self.serving_problem)

    @property
    def drill(self) -> Holding | None:
        """Return the lease of a drill that is going on, or whose guard is about to undo it; None when there is none."""
        held = [look.holding for look in self.gateways if look.holding is not None]
        return next((one for one in held if one.state in {"held", "expired", "undoing"}), None)

    def samples(self, inventory: str) -> list[Sample]:
        """Return it as the history stores it."""
        rows = [
            Sample(
                at=self.at,
                inventory=inventory,
                host=zone.name,
                role=zone.survey.role,
                health=zone.health.health,
                ready=zone.health.ready,
                zone=zone.survey.zone,
                latency_seconds=zone.latency,
                model_sha256=zone.survey.sha256_loaded,
                fingerprint=zone.fingerprint,
                problem=_printable(zone.trouble.message if zone.trouble else zone.survey.problem),
            )
            for zone in self.zones
        ]
        rows += [
            Sample(
                at=self.at,
                inventory=inventory,
                host=gateway.name,
                role="gateway",
                health="unreachable" if gateway.trouble else "reachable",
                ready=gateway.trouble is None,
                config_sha256=gateway.config_sha256,
                configured_zone=self.configured_zone,
                serving_zone=self.serving_zone,
                problem=_printable(gateway.trouble.message if gateway.trouble else None),
            )
            for gateway in self.gateways
        ]
        return rows


def _printable(problem: str | None) -> str | None:
    """Return what is wrong without what a database refuses: it may quote what a host said."""
    return None if problem is None else printable(problem, LONGEST_PROBLEM)
