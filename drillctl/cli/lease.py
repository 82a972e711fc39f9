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
            lines = [f"{name}: {holding}"] if isinstance(holding, DrillctlError) else recovery.in_words(holding)
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
    """End a run's lease on every host that it holds: the guards undo at once. Exit code 6 when something is left."""
    from drillctl.cli.console import out
    from drillctl.errors import UsageError
    from drillctl.guard import recovery
    from drillctl.guard.client import GuardClient
    from drillctl.guard.lease import Holding
    from drillctl.hosts import fleet as fleets

    estate = load_estate(inventory, lab)
    left = False
    with fleets.connect(estate) as fleet:
        clients = {name: GuardClient(transport) for name, transport in fleet.transports.items()}
        holding = {name: client.show() for name, client in clients.items()}
        holders = [name for name, held in holding.items() if isinstance(held, Holding) and held.run == run]
        if not holders:
            held = sorted({one.run for one in holding.values() if one.run})
            raise UsageError(
                f"no host's lease is held by {run}",
                hint=f"held by: {', '.join(held) or 'nobody'}; the id must be exact",
                state="nothing was changed",
            )
        # As `recover` does it: the gateway goes back only to a zone that answers.
        gateways = {host.name for host in estate.gateway.hosts}
        for name in sorted(holders, key=lambda host: (host in gateways, host)):
            after = clients[name].break_lease(run, forget=forget)
            left = left or after.state != "free"
            for line in recovery.in_words(after):
                out().print(line, soft_wrap=True, markup=False)
    if left:
        out().print("The guards go on trying; `drillctl lease show` tells, `drillctl recover` puts the rest back.")
        raise typer.Exit(6)


def _document(found: dict[str, Holding | DrillctlError]) -> str:
    """Return the JSON document of `lease show`."""
    import json

    from drillctl.errors import DrillctlError

    hosts = [
        {"name": name, "problem": str(holding)}
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
