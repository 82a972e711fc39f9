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


def inventory_path(given: Path | None, *, or_lab: bool = False) -> Path:
    """Return the inventory file to use; `or_lab`: the command takes --lab as well. Raises UsageError without one."""
    path = given or default_path()
    if not is_file(path):
        lab = ", or try the lab with --lab" if or_lab else ""
        raise UsageError(
            f"{path} is a folder, not an inventory file" if path.is_dir() else f"there is no inventory file {path}",
            hint=f"name one with --inventory{lab}; the README shows how to write one",
            state="nothing was changed",
        )
    return path


def default_path() -> Path:
    """Return where the inventory is when none is named; it need not be there."""
    return Path(os.environ.get("DRILLCTL_INVENTORY", "inventory.yaml"))


def is_file(path: Path) -> bool:
    """Tell whether an inventory file is there. Raises UsageError when that cannot be looked at."""
    try:
        return path.is_file()
    except OSError as error:
        raise UsageError(
            f"the inventory file {path} cannot be reached: {error.strerror or error}", state="nothing was changed"
        ) from None


def load_estate(given: Path | None, lab: bool) -> Inventory:
    """Read the inventory to use: the lab's, a given one, or the default one. Raises UsageError or FileError."""
    only_one(given, lab)
    from drillctl import inventory

    if not lab:
        return inventory.load(inventory_path(given, or_lab=True))
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
    if given is None and not lab and not is_file(default_path()):
        return None
    return load_estate(given, lab)


def only_one(given: Path | None, lab: bool) -> None:
    """Refuse --lab together with --inventory."""
    if given is not None and lab:
        raise UsageError("--lab and --inventory name two estates", hint="give one of them", state="nothing was changed")
