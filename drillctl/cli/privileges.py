"""`drillctl privileges`: what drillctl runs as root on a host, and the scripts that let it, for an administrator."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from drillctl.cli.estate import InventoryOption, LabOption, load_estate

if TYPE_CHECKING:
    from drillctl.inventory import Host, Inventory

app = typer.Typer(no_args_is_help=True, help="What drillctl may do as root on each host, and how that is installed.")

HostArgument = Annotated[str, typer.Argument(help="A host of the inventory.")]


@app.command()
def show(host: HostArgument, inventory: InventoryOption = None, lab: LabOption = False) -> None:
    """Show every program that drillctl runs as root on a host, and the arguments that each takes."""
    from drillctl.privileges import registry

    estate, chosen = _of(host, inventory, lab)
    programs = registry.programs(estate, chosen)
    if not programs:
        typer.echo(f"drillctl needs no root on {host}.")
    for program in programs:
        typer.echo(f"{program.path}\n  {program.does}")
        for call in program.arguments:
            typer.echo(f"    {call or '(no arguments)'}")


@app.command()
def sudoers(host: HostArgument, inventory: InventoryOption = None, lab: LabOption = False) -> None:
    """Print the sudoers file of a host."""
    from drillctl.privileges import sudoers as rules

    _print(rules.text(*_of(host, inventory, lab)), host)


@app.command()
def install_script(host: HostArgument, inventory: InventoryOption = None, lab: LabOption = False) -> None:
    """Print the script that installs the programs and the sudoers file; root runs it on the host."""
    from drillctl.privileges import installer

    _print(installer.install_script(*_of(host, inventory, lab)), host)


@app.command()
def remove_script(host: HostArgument, inventory: InventoryOption = None, lab: LabOption = False) -> None:
    """Print the script that removes them again; root runs it on the host."""
    from drillctl.privileges import installer

    _print(installer.remove_script(*_of(host, inventory, lab)), host)


@app.command()
def check(inventory: InventoryOption = None, lab: LabOption = False) -> None:
    """See that every host has exactly what drillctl needs. Exit code 4 when one has not; nothing is changed."""
    from drillctl.cli.console import err
    from drillctl.hosts import fleet as fleets

    estate = load_estate(inventory, lab)
    fleet, errors = fleets.connect_all(estate)
    with fleet:
        for host in estate.hosts:
            error = errors.get(host.name)
            by = estate.login(host).by
            said = {
                "installed": "the installed programs and sudo's rules are what drillctl needs",
                "sudo": "any command by sudo; `privileges: installed` in the inventory would allow less",
                "login": "whatever the user who logs in may do",
            }[by]
            typer.echo(f"{host.name}: {error or said}")
            if error is not None and error.hint:
                err().print(f"next:  {error.hint}", soft_wrap=True, markup=False)
    if errors:
        raise typer.Exit(4)


def _of(name: str, inventory: object, lab: bool) -> tuple[Inventory, Host]:
    """Return the estate and the host of a name. Raises UsageError when there is no such host."""
    from pathlib import Path

    from drillctl.errors import UsageError

    estate = load_estate(inventory if isinstance(inventory, Path) else None, lab)
    for host in estate.hosts:
        if host.name == name:
            return estate, host
    names = ", ".join(host.name for host in estate.hosts)
    raise UsageError(f"the inventory has no host `{name}`", hint=f"its hosts are {names}", state="nothing was changed")


def _print(text: str, host: str) -> None:
    if not text:
        typer.echo(f"drillctl needs no root on {host}: nothing is to be installed there.", err=True)
    sys.stdout.write(text)
