"""`drillctl validate`: whether playbooks fit an estate, and what can be said of them without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Ended

PASSIVE = "the playbook is for gateways of kind nginx-passive; that of `shop` is nginx"
NOT_INSTALLED = "`partition` runs as root, and its programs are not installed there; say `faults: [partition]`"


@pytest.fixture
def installed(inventory_file: Path) -> None:
    """Let only installed programs run as root, and none of them be of a fault."""
    inventory_file.write_text(inventory_file.read_text() + "  privileges: installed\n")


def line_of(ended: Ended, name: str) -> str:
    return next(line for line in ended.out.splitlines() if f"`{name}`" in line)


def test_a_playbook_that_ships_and_is_not_for_this_estate_is_marked(
    drillctl: Callable[..., Ended], inventory_file: Path
) -> None:
    ended = drillctl("validate")
    assert (ended.code, ended.err) == (0, "")
    assert line_of(ended, "gateway-passive").endswith(f" is valid (36 images), but not for this estate: {PASSIVE}")
    assert "not for this estate" not in line_of(ended, "zone-failover")


def test_one_that_is_named_has_to_fit(drillctl: Callable[..., Ended], inventory_file: Path) -> None:
    ended = drillctl("validate", "gateway-passive")
    assert ended.code == 2
    assert PASSIVE in ended.err


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("words", [("validate",), ("run", "--plan")])
def test_a_fault_whose_programs_are_not_installed_is_refused_before_any_host_is_asked(
    drillctl: Callable[..., Ended], words: tuple[str, ...]
) -> None:
    ended = drillctl(words[0], "zone-partition", *words[1:])
    assert ended.code == 2
    assert "zone-partition.yaml:" in ended.err
    assert NOT_INSTALLED in ended.err


@pytest.mark.usefixtures("installed")
def test_a_fault_whose_programs_are_installed_is_not(drillctl: Callable[..., Ended], inventory_file: Path) -> None:
    inventory_file.write_text(inventory_file.read_text() + "faults: [partition]\n")
    assert drillctl("validate", "zone-partition").code == 0
    ended = drillctl("validate")
    assert "`hang` runs as root" in line_of(ended, "zone-hang")
    assert "not for this estate" not in line_of(ended, "zone-partition")


@pytest.mark.usefixtures("playbook_file")
def test_without_an_inventory_a_playbook_is_checked_by_itself(drillctl: Callable[..., Ended], tmp_path: Path) -> None:
    ended = drillctl("validate", "playbook.yaml")
    assert (ended.code, ended.out) == (0, "playbook.yaml: playbook `loss-of-zone` is valid (2 images)\n")
    assert ended.err == "There is no inventory here: whether this fits an estate was not checked.\n"
    (tmp_path / "playbook.yaml").write_text("name: 1\n")
    assert drillctl("validate", "playbook.yaml").code == 2


@pytest.mark.usefixtures("playbook_file")
def test_an_inventory_that_is_named_must_be_there(drillctl: Callable[..., Ended], tmp_path: Path) -> None:
    for ended in (
        drillctl("validate", "playbook.yaml", "-i", "nowhere.yaml"),
        drillctl("validate", "playbook.yaml", DRILLCTL_INVENTORY="nowhere.yaml"),
    ):
        assert ended.code == 2
        assert "there is no inventory file nowhere.yaml" in ended.err
    folder = drillctl("validate", "playbook.yaml", "-i", str(tmp_path))
    assert f"error: {tmp_path} is a folder, not an inventory file\n" in folder.err
