"""What is wrong in a look: each thing is found when it is wrong, and nothing when all is well."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from drillctl import inventory as inventories
from drillctl.guard.lease import Holding
from drillctl.patrol.baseline import Baseline
from drillctl.patrol.drift import findings
from drillctl.patrol.look import Look, Trouble
from drillctl.survey import Health

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drillctl.inventory import Inventory

OTHER = "0" * 64


def kinds(estate: Inventory, look: Look, baseline: Baseline | None = None) -> set[tuple[str, str]]:
    return {(one.kind, one.place) for one in findings(estate, look, baseline or Baseline())}


@pytest.fixture
def known(well: Look) -> Baseline:
    """What was right at the look in which all was well."""
    baseline = Baseline()
    baseline.learn(well)
    return baseline


def test_nothing_is_found_when_all_is_well(estate: Inventory, well: Look, known: Baseline) -> None:
    assert findings(estate, well, known) == ()


@pytest.mark.parametrize(
    ("place", "more", "found"),
    [
        ("a-1", {"health": Health("loading")}, ("health", "a-1")),
        ("b-1", {"health": Health(), "problem": "no answer"}, ("health", "b-1")),
        ("b-1", {"trouble": Trouble("no answer in time")}, ("unreachable", "b-1")),
        ("a-1", {"info": {"service": "backup", "is_primary": False}}, ("role", "a-1")),
        ("b-1", {"sha256_disk": OTHER}, ("model-disk", "b-1")),
        ("b-1", {"sha256_disk": None, "unchecked": "No such file or directory"}, ("model-disk", "b-1")),
        ("b-1", {"sha256_loaded": OTHER}, ("model-loaded", "b-1")),
        ("a-1", {"fingerprint": OTHER}, ("fingerprint", "a-1")),
        ("gateway", {"trouble": Trouble("no answer in time"), "holding": None}, ("unreachable", "gateway")),
        ("gateway", {"config_sha256": OTHER}, ("config", "gateway")),
        ("gateway", {"holding": Holding("gateway", state="stuck", epoch=3, run="r")}, ("stuck", "gateway")),
        ("", {"configured_zone": None, "configured_reason": "enabled are 0 of 1"}, ("configured-zone", "gateway")),
        ("", {"configured_zone": "zone-b", "serving_zone": "zone-b"}, ("configured-zone", "gateway")),
        ("", {"serving_zone": "zone-b"}, ("serving-zone", "gateway")),
        ("", {"serving_zone": None, "serving_problem": "502"}, ("serving-zone", "gateway")),
    ],
)
def test_each_thing_is_found_where_it_is(
    estate: Inventory,
    known: Baseline,
    spoil: Callable[..., Look],
    place: str,
    more: dict[str, object],
    found: tuple[str, str],
) -> None:
    assert found in kinds(estate, spoil(place, **more), known)


def test_a_host_key_that_is_refused_is_told_from_a_host_that_is_down(
    estate: Inventory, spoil: Callable[..., Look], refused: Trouble
) -> None:
    assert kinds(estate, spoil("a-1", trouble=refused)) == {("host-key", "a-1")}


def test_a_standby_of_another_environment_is_found_unless_that_is_waived(
    estate: Inventory, spoil: Callable[..., Look], inventory_file: Path
) -> None:
    info = {"service": "backup", "is_primary": False, "fingerprint": {"torch": "2.14"}}
    look = spoil("b-1", info=info, fingerprint=OTHER)
    assert kinds(estate, look) == {("environment", "b-1")}
    reason = "waivers:\n  - {check: environment, reason: the standby is being upgraded}\n"
    inventory_file.write_text(inventory_file.read_text() + reason)
    assert kinds(inventories.load(inventory_file), look) == set()


def test_the_text_of_a_finding_does_not_change_with_time(estate: Inventory, spoil: Callable[..., Look]) -> None:
    first, second = (spoil("a-1", health=Health("loading", uptime_sec=uptime)) for uptime in (1.0, 2.0))
    assert findings(estate, first, Baseline()) == findings(estate, second, Baseline())


# ---- who changed the config


def lease(look: Look, state: str, epoch: int, config: str) -> Look:
    holding = Holding("gateway", state=state, epoch=epoch, run="r")  # type: ignore[arg-type]
    return replace(look, gateways=(replace(look.gateways[0], holding=holding, config_sha256=config),))


def test_a_config_that_a_drill_changed_and_put_back_is_no_drift(estate: Inventory, well: Look, known: Baseline) -> None:
    for look in (lease(well, "held", 4, OTHER), lease(well, "held", 4, "c" * 64), lease(well, "free", 4, "c" * 64)):
        known.learn(look)
        assert ("config", "gateway") not in kinds(estate, look, known)


def test_a_config_that_drillctl_changed_for_good_is_the_new_one(estate: Inventory, well: Look, known: Baseline) -> None:
    switched = lease(well, "free", 4, OTHER)
    known.learn(switched)
    assert ("config", "gateway") not in kinds(estate, switched, known)
    back = lease(well, "free", 4, "c" * 64)
    known.learn(back)
    assert ("config", "gateway") in kinds(estate, back, known), "without a lease, it was somebody else"


def test_what_changed_while_nobody_looked_is_found_by_the_history(estate: Inventory, well: Look) -> None:
    samples = well.samples("shop")
    changed = lease(well, "free", 3, OTHER)
    baseline = Baseline.of(samples, last_drill=None)
    baseline.learn(changed)
    assert kinds(estate, changed, baseline) == {("config", "gateway")}
    drilled = Baseline.of(samples, last_drill=well.at)
    drilled.learn(changed)
    assert kinds(estate, changed, drilled) == set(), "a drill since then may have changed it"


def test_accepting_takes_what_is_there_as_right(estate: Inventory, well: Look, known: Baseline) -> None:
    changed = lease(well, "free", 3, OTHER)
    known.learn(changed)
    assert kinds(estate, changed, known) == {("config", "gateway")}
    known.accept(changed)
    assert kinds(estate, changed, known) == set()
