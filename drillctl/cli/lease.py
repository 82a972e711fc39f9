"""`drillctl lease show | break`: who holds the hosts' leases, and ending one by hand."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from drillctl.cli.estate import InventoryOption, LabOption, load_estate

if TYPE_CHECKING:
    from drillctl.errors import DrillctlError
    from drillctl.guard.lease import Holding

app = typer.Typer(no_args_is_help=True, help="Who holds the lease on each host, and what its guard would undo.")


@app.command()
def show(
    inventory: InventoryOption = None,
    lab: LabOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show what each host's guard holds; changes nothing. Exit code 4 when a host cannot be asked."""
    from drillctl.cli.console import out
    from drillctl.errors import DrillctlError
    from drillctl.guard import recovery

    found = recovery.look(load_estate(inventory, lab))
    if as_json:
        sys.stdout.write(_document(found) + "\n")
    else:
        for name, holding in found.items():
            lines = [f"{name}: {holding.message}"] if isinstance(holding, DrillctlError) else recovery.in_words(holding)
            for line in lines:
                out().print(line, soft_wrap=True, markup=False)
    if any(isinstance(holding, DrillctlError) for holding in found.values()):
        raise typer.Exit(4)


@app.command(name="break")
def break_lease(
    run: Annotated[str, typer.Option("--id", help="The exact id of the run, as `lease show` prints it.")],
    inventory: InventoryOption = None,
    lab: LabOption = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Drop what is outstanding instead of undoing it; nothing is put back.")
    ] = False,
) -> None:
    """End a run's lease on every host that it holds: the guards undo at once. Exit code 6 when something is left.

    Hosts that cannot be reached are named, and keep what they hold; on the others the lease is ended all the same.
    """
    from drillctl.cli.console import out

    def say(line: str) -> None:
        out().print(line, soft_wrap=True, markup=False)

    from drillctl.guard import breaking

    broken = breaking.carry_out(load_estate(inventory, lab), run, forget=forget, say=say)
    if broken.left:
        say("The guards go on trying; `drillctl lease show` tells, `drillctl recover` puts the rest back.")
    if broken.left or broken.away:
        raise typer.Exit(6)


def _document(found: dict[str, Holding | DrillctlError]) -> str:
    """Return the JSON document of `lease show`."""
    import json

    from drillctl.errors import DrillctlError

    hosts = [
        {"name": name, "problem": holding.message}
        if isinstance(holding, DrillctlError)
        else {
            "name": name,
            "state": holding.state,
            "epoch": holding.epoch,
            "run": holding.run or None,
            "owner": holding.owner or None,
            "since": holding.since or None,
            "remaining_seconds": holding.remaining,
            "undos": [{"kind": order.kind, "arguments": list(order.arguments)} for order in holding.orders],
            "log": list(holding.log),
        }
        for name, holding in found.items()
    ]
    return json.dumps({"schema_version": 1, "hosts": hosts}, indent=2, ensure_ascii=False)
