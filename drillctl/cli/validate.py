"""`drillctl validate`: check an inventory and playbooks without touching anything."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from drillctl.cli import completion
from drillctl.cli.estate import InventoryOption, default_path, inventory_path, is_file
from drillctl.cli.variables import VariablesOption, given

if TYPE_CHECKING:
    from pathlib import Path

    from drillctl.inventory import Inventory


def validate(
    playbooks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PLAYBOOK",
            help="Playbooks by name or path; by default all built-in.",
            autocompletion=completion.playbooks,
        ),
    ] = None,
    inventory: InventoryOption = None,
    variables: VariablesOption = None,
) -> None:
    """Check the inventory and playbooks; touches no host. Exit code 2 when something is wrong.

    Playbooks that are named must fit the estate as well; without an inventory only their own contents are checked.
    """
    from drillctl import fit
    from drillctl import playbook as books
    from drillctl.errors import FileError

    problems: list[str] = []
    estate = None
    alone = bool(playbooks) and _none_is_meant(inventory)
    if not alone:
        try:
            estate = _estate(inventory_path(inventory))
        except FileError as error:
            problems += error.problems
    for name in playbooks or list(books.builtin()):
        file = books.find(name)
        try:
            book = books.load(file, given(variables) if playbooks else None)
            if estate is not None and playbooks:
                fit.check(file, given(variables), book, estate)
            misfits = fit.misfits(book, estate) if estate is not None else []
            unfit = f", but not for this estate: {misfits[0][1]}" if misfits else ""
            typer.echo(f"{file}: playbook `{book.name}` is valid ({len(books.images(book))} images){unfit}")
        except FileError as error:
            problems += error.problems
    if alone:
        typer.echo("There is no inventory here: whether this fits an estate was not checked.", err=True)
    if problems:
        raise FileError(problems, hint="mend these lines, then run `drillctl validate` again")


def _not_here(estate: Inventory) -> list[str]:
    """Return what drills need on this machine and is not there.

    It is no error: an inventory may be checked where nobody logs in from.
    """
    from drillctl.hosts.login import is_file

    wanted: dict[tuple[Path, str], list[str]] = {}
    for host in estate.hosts:
        login = estate.login(host)
        for path, what in ((login.key, "the SSH key"), (login.known_hosts, "the known_hosts file")):
            if path is not None and not is_file(path):
                wanted.setdefault((path, what), []).append(host.name)
    return [f"{path} is not on this machine: {what} of {', '.join(hosts)}" for (path, what), hosts in wanted.items()]


def _none_is_meant(given: Path | None) -> bool:
    """Tell whether no inventory was named, in any way, and none lies in this folder."""
    return given is None and "DRILLCTL_INVENTORY" not in os.environ and not is_file(default_path())


def _estate(path: Path) -> Inventory:
    from drillctl import inventory as inventories

    estate = inventories.load(path)
    hosts = len(estate.hosts)
    typer.echo(f"{path}: inventory `{estate.name}` is valid ({hosts} hosts, {estate.environment})")
    for note in _not_here(estate):
        typer.echo(f"note: {note}", err=True)
    return estate
