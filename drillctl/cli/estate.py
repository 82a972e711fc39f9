"""Which estate a command works on: an inventory file, or the lab."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drillctl.errors import UsageError

if TYPE_CHECKING:
    from drillctl.inventory import Inventory

InventoryOption = Annotated[
    Path | None,
    typer.Option("--inventory", "-i", help="Inventory file; by default $DRILLCTL_INVENTORY or ./inventory.yaml."),
]
LabOption = Annotated[bool, typer.Option("--lab", help="Use the lab's hosts on this machine.")]


def inventory_path(given: Path | None) -> Path:
    """Return the inventory file to use. Raises UsageError when there is none."""
    path = given or Path(os.environ.get("DRILLCTL_INVENTORY", "inventory.yaml"))
    if not is_file(path):
        raise UsageError(
            f"there is no inventory file {path}",
            hint="name one with --inventory, or try the lab with --lab; the README shows how to write one",
            state="nothing was changed",
        )
    return path


def is_file(path: Path) -> bool:
    """Tell whether an inventory file is there. Raises UsageError when that cannot be looked at."""
    try:
        return path.is_file()
    except OSError as error:
        raise UsageError(
            f"the inventory file {path} cannot be reached: {error.strerror or error}", state="nothing was changed"
        ) from None


def load_inventory(given: Path | None) -> Inventory:
    """Read the inventory file to use. Raises UsageError or FileError."""
    from drillctl import inventory

    return inventory.load(inventory_path(given))


def load_estate(given: Path | None, lab: bool) -> Inventory:
    """Read the inventory to use: the lab's, a given one, or the default one. Raises UsageError or FileError."""
    only_one(given, lab)
    if not lab:
        return load_inventory(given)
    from drillctl import inventory
    from drillctl import lab as labs

    current = labs.current()
    if current is None:
        raise no_lab()
    return inventory.load(current.inventory)


def no_lab() -> UsageError:
    """Return the error where a lab is needed and none is up."""
    return UsageError("there is no lab", hint="`drillctl lab up` brings one up", state="nothing was changed")


def estate_or_none(given: Path | None, lab: bool) -> Inventory | None:
    """Read the inventory to use as `load_estate` does; None when none was named and there is no default one."""
    if given is None and not lab and not is_file(Path(os.environ.get("DRILLCTL_INVENTORY", "inventory.yaml"))):
        return None
    return load_estate(given, lab)


def only_one(given: Path | None, lab: bool) -> None:
    """Refuse --lab together with --inventory."""
    if given is not None and lab:
        raise UsageError("--lab and --inventory name two estates", hint="give one of them", state="nothing was changed")
