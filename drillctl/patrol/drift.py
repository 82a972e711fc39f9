"""What is not as it should be in a look: down, unlike what the inventory pins, or changed by nobody who may (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.compare.identity import compare_identity
from drillctl.overview import wrong_role
from drillctl.patrol.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drillctl.inventory import Inventory
    from drillctl.patrol.baseline import Baseline
    from drillctl.patrol.finding import Kind
    from drillctl.patrol.look import GatewayLook, Look, Trouble, ZoneLook

SHORT = 12
"""Digits of a hash that are shown."""

GATEWAY = "gateway"
"""The place of what concerns no single host."""


def findings(inventory: Inventory, look: Look, baseline: Baseline) -> tuple[Finding, ...]:
    """Return what is wrong in a look, measured by the inventory and by what was right before."""
    found: list[Finding] = []
    for zone in look.zones:
        found += _zone_host(inventory, zone, baseline)
    for gateway in look.gateways:
        found += _gateway_host(gateway, baseline)
    found += _zones_apart(inventory, look)
    found += _service(inventory, look, baseline)
    return tuple(found)


def _trouble(name: str, trouble: Trouble) -> Finding:
    kind: Kind = "bug" if trouble.bug else "host-key" if trouble.refused else "unreachable"
    return Finding(kind, name, trouble.message)


def _zone_host(inventory: Inventory, look: ZoneLook, baseline: Baseline) -> Iterator[Finding]:
    name, about, pinned = look.name, look.survey, inventory.service.model.sha256
    if look.trouble is not None:
        yield _trouble(name, look.trouble)
    if not look.health.ready and (about.problem or look.health.health != "unreachable"):
        silent = look.health.health == "unreachable"
        yield Finding("health", name, "its server does not answer" if silent else str(look.health))
    if look.health.ready and (wrong := wrong_role(about)):
        yield Finding("role", name, wrong.removeprefix(f"{name}: "))
    if about.sha256_loaded not in {None, pinned}:
        yield Finding("model-loaded", name, f"the loaded model is {_short(about.sha256_loaded)}, {_pinned(pinned)}")
    if look.untold is not None:
        yield Finding("model-loaded", name, f"the loaded model cannot be told: {look.untold}")
    if about.sha256_disk not in {None, pinned}:
        yield Finding("model-disk", name, f"the model on disk is {_short(about.sha256_disk)}, {_pinned(pinned)}")
    if look.unchecked is not None:
        yield Finding("model-disk", name, f"the model on disk cannot be checked: {look.unchecked}")
    known = baseline.fingerprints.get(name)
    if look.fingerprint is not None and known is not None and look.fingerprint != known:
        yield Finding("fingerprint", name, f"its environment is {_short(look.fingerprint)}, it was {_short(known)}")


def _gateway_host(look: GatewayLook, baseline: Baseline) -> Iterator[Finding]:
    if look.trouble is not None:
        yield _trouble(look.name, look.trouble)
    holding = look.holding
    if holding is not None and holding.state == "stuck":
        yield Finding("stuck", look.name, f"the guard could not put back what {holding.run} did")
    known = baseline.configs.get(look.name)
    free = holding is not None and holding.state == "free"
    if free and known is not None and look.config_sha256 not in {None, known.sha256}:
        change = f"it is {_short(look.config_sha256)}, it was {_short(known.sha256)}"
        yield Finding("config", look.name, f"its config was changed outside drillctl: {change}")


def _zones_apart(inventory: Inventory, look: Look) -> Iterator[Finding]:
    """Compare each host of the standby with the first one of the primary that is ready."""
    if inventory.waived("environment"):
        return
    ready = [zone for zone in look.zones if zone.health.ready and zone.survey.info]
    primary = next((zone for zone in ready if zone.survey.role == "primary"), None)
    if primary is None:
        return
    for zone in ready:
        if zone.survey.role != "standby" or zone.fingerprint == primary.fingerprint:
            continue
        # That the model differs is said of itself.
        keys = [
            difference.key
            for difference in compare_identity(primary.survey.info, zone.survey.info)
            if difference.matters and difference.key != "model.sha256"
        ]
        if keys:
            yield Finding("environment", zone.name, f"it differs from {primary.name} in {', '.join(keys[:5])}")


def _service(inventory: Inventory, look: Look, baseline: Baseline) -> Iterator[Finding]:
    primary = inventory.zone("primary").name
    reachable = any(gateway.trouble is None for gateway in look.gateways)
    if look.configured_zone is None and reachable:
        reason = look.configured_reason or "it names no single zone"
        known = "it is configured for no single zone"
        what = known if look.configured_known else "what it is configured for is unknown"
        yield Finding("configured-zone", GATEWAY, f"{what}: {reason}")
    elif look.configured_zone not in {None, primary}:
        yield Finding("configured-zone", GATEWAY, f"it is configured for {look.configured_zone}, not for {primary}")
    if look.serving_zone is None:
        yield Finding("serving-zone", GATEWAY, look.serving_problem or "no zone answers clients")
    elif look.configured_zone is not None and look.serving_zone != look.configured_zone:
        yield Finding(
            "serving-zone",
            GATEWAY,
            f"{look.serving_zone} answers clients, but it is configured for {look.configured_zone}",
        )
    elif look.configured_zone is None and baseline.serving not in {None, look.serving_zone}:
        yield Finding("serving-zone", GATEWAY, f"{look.serving_zone} answers clients now, it was {baseline.serving}")


def _pinned(sha256: str) -> str:
    return f"pinned is {_short(sha256)}"


def _short(sha256: str | None) -> str:
    """Return the beginning of a hash, which is enough for a person; the samples hold all of it."""
    return (sha256 or "unknown")[:SHORT]
