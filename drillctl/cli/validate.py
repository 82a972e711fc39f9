"""`drillctl validate`: check an inventory and playbooks without touching anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from drillctl.cli.estate import InventoryOption, inventory_path
from drillctl.cli.variables import VariablesOption, given

if TYPE_CHECKING:
    from pathlib import Path

    from drillctl.inventory import Inventory


def validate(
    playbooks: Annotated[
        list[str] | None, typer.Argument(help="Playbooks by name or path; by default all built-in.")
    ] = None,
    inventory: InventoryOption = None,
    variables: VariablesOption = None,
) -> None:
    """Check the inventory and playbooks; touches no host. Exit code 2 when something is wrong."""
    from drillctl import inventory as inventories
    from drillctl import playbook as books
    from drillctl.errors import FileError

    problems: list[str] = []
    path = inventory_path(inventory)
    estate = None
    try:
        estate = inventories.load(path)
        hosts = len(estate.hosts)
        typer.echo(f"{path}: inventory `{estate.name}` is valid ({hosts} hosts, {estate.environment})")
        for note in _not_here(estate):
            typer.echo(f"note: {note}", err=True)
    except FileError as error:
        problems += error.problems
    for name in playbooks or list(books.builtin()):
        file = books.find(name)
        try:
            book = books.load(file, given(variables) if playbooks else None)
            if estate is not None and playbooks:
                books.check_hosts(file, given(variables), book, estate)
            typer.echo(f"{file}: playbook `{book.name}` is valid ({len(books.images(book))} images)")
        except FileError as error:
            problems += error.problems
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
