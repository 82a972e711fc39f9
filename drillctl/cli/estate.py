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
    if not path.is_file():
        raise UsageError(
            f"there is no inventory file {path}",
            hint="name one with --inventory, or try the lab with --lab; the README shows how to write one",
            state="nothing was changed",
        )
    return path


def load_inventory(given: Path | None) -> Inventory:
    """Read the inventory file to use. Raises UsageError or FileError."""
    from drillctl import inventory

    return inventory.load(inventory_path(given))


def only_one(given: Path | None, lab: bool) -> None:
    """Refuse --lab together with --inventory."""
    if given is not None and lab:
        raise UsageError("--lab and --inventory name two estates", hint="give one of them", state="nothing was changed")
