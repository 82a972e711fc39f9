"""Looks at the estate of two zones, in which one thing at a time can be wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from drillctl.guard.lease import Holding
from drillctl.patrol.look import GatewayLook, Look, Trouble, ZoneLook
from drillctl.survey import Health, HostSurvey

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.inventory import Inventory

AT = datetime(2026, 11, 25, 12, tzinfo=UTC)
INFO = {"service": "main", "is_primary": True, "fingerprint": {"torch": "2.15"}}


@pytest.fixture
def well(estate: Inventory) -> Look:
    """A look in which all is well."""
    pinned = estate.service.model.sha256

    def zone(name: str, zone_name: str, role: str, info: dict[str, Any]) -> ZoneLook:
        survey = HostSurvey(
            name,
            zone_name,
            role,
            "10.0.0.9",
            "/srv/model",
            health=Health("healthy", ready=True, uptime_sec=5.0),
            sha256_disk=pinned,
            sha256_loaded=pinned,
            info={**info, "model": {"sha256": pinned}},
        )
        return ZoneLook(survey, latency=0.002, fingerprint="f" * 64)

    return Look(
        at=AT,
        zones=(
            zone("a-1", "zone-a", "primary", INFO),
            zone("b-1", "zone-b", "standby", {**INFO, "service": "backup", "is_primary": False}),
        ),
        gateways=(GatewayLook("gateway", config_sha256="c" * 64, holding=Holding("gateway", epoch=3)),),
        configured_zone="zone-a",
        configured_reason=None,
        serving_zone="zone-a",
        serving_problem=None,
    )


@pytest.fixture
def spoil(well: Look) -> Callable[..., Look]:
    """Return a function that changes what a look says of one host, or of the service."""

    def change(place: str = "", **more: Any) -> Look:
        if not place:
            return replace(well, **more)
        if place == "gateway":
            return replace(well, gateways=(replace(well.gateways[0], **more),))
        own = {key: more.pop(key) for key in ("trouble", "fingerprint", "latency", "unchecked") if key in more}
        zones = tuple(
            replace(zone, survey=replace(zone.survey, **more), **own) if zone.name == place else zone
            for zone in well.zones
        )
        return replace(well, zones=zones)

    return change


@pytest.fixture
def refused() -> Trouble:
    return Trouble("the host key of 10.0.1.1 has CHANGED", refused=True)
