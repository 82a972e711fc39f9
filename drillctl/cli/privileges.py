"""`drillctl privileges`: what drillctl runs as root on a host, and the scripts that let it, for an administrator."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from drillctl.cli import completion
from drillctl.cli.estate import InventoryOption, LabOption, load_estate

if TYPE_CHECKING:
    from drillctl.inventory import Host, Inventory

app = typer.Typer(no_args_is_help=True, help="What drillctl may do as root on each host, and how that is installed.")

SCHEMA_VERSION = 1
_MEANING = {
    "installed": "the installed programs and sudo's rules are what drillctl needs",
    "sudo": "any command by sudo; `privileges: installed` would allow less",
    "login": "whatever the user who logs in may do",
}
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
HostArgument = Annotated[str, typer.Argument(help="A host of the inventory.", autocompletion=completion.hosts)]


@app.command()
def show(
    host: HostArgument, inventory: InventoryOption = None, lab: LabOption = False, as_json: JsonOption = False
) -> None:
    """Show each program for root, and its arguments."""
    from drillctl.privileges import registry
    from drillctl.privileges.program import wrapped

    estate, chosen = _of(host, inventory, lab)
    programs = registry.programs(estate, chosen)
    if as_json:
        listed = [
            {"name": one.name, "path": one.path, "does": one.does, "sha256": one.sha256, "arguments": one.arguments}
            for one in programs
        ]
        typer.echo(json.dumps({"schema_version": SCHEMA_VERSION, "host": host, "programs": listed}, indent=2))
        return
    if not programs:
        typer.echo(f"drillctl needs no root on {host}.")
    for program in programs:
        typer.echo(f"{program.path}\n  {program.does}")
        for call in program.arguments:
            for line in wrapped(call or "(no arguments)"):
                typer.echo(f"    {line}")


@app.command()
def sudoers(host: HostArgument, inventory: InventoryOption = None, lab: LabOption = False) -> None:
    """Print a host's sudoers file."""
    from drillctl.privileges import sudoers as rules

    _print(rules.text(*_of(host, inventory, lab)), host)


@app.command()
def install_script(host: HostArgument, inventory: InventoryOption = None, lab: LabOption = False) -> None:
    """Print what root runs on a host to install all."""
    from drillctl.privileges import installer

    _print(installer.install_script(*_of(host, inventory, lab)), host)


@app.command()
def remove_script(host: HostArgument, inventory: InventoryOption = None, lab: LabOption = False) -> None:
    """Print what root runs there to remove it all."""
    from drillctl.privileges import installer

    _print(installer.remove_script(*_of(host, inventory, lab)), host)


@app.command()
def check(inventory: InventoryOption = None, lab: LabOption = False, as_json: JsonOption = False) -> None:
    """See that every host has what is needed.

    Exit code 4 when one has not exactly that, or cannot be asked. Nothing is changed.
    """
    from drillctl.cli.console import err
    from drillctl.hosts import fleet as fleets

    estate = load_estate(inventory, lab)
    fleet, errors = fleets.connect_all(estate)
    fleet.close()
    if as_json:
        hosts = [
            {
                "name": host.name,
                "privileges": estate.login(host).by,
                "problem": str(errors[host.name]) if host.name in errors else None,
            }
            for host in estate.hosts
        ]
        typer.echo(json.dumps({"schema_version": SCHEMA_VERSION, "hosts": hosts, "ok": not errors}, indent=2))
    else:
        for host in estate.hosts:
            error = errors.get(host.name)
            typer.echo(str(error) if error else f"{host.name}: {_MEANING[estate.login(host).by]}")
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
