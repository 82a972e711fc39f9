"""`drillctl gateway`: what the gateway is configured for, and making its config fit for drills."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from drillctl.cli.estate import InventoryOption, LabOption, load_estate

if TYPE_CHECKING:
    from drillctl.errors import NotStarted
    from drillctl.gateway.adoption import HostPlan

app = typer.Typer(no_args_is_help=True, help="The gateway: what it is configured for, and adopting its config.")


@app.command()
def show(
    inventory: InventoryOption = None,
    lab: LabOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show each gateway host: its config, its zone, its own test, and what is missing. Exit code 4 if anything is."""
    from drillctl.cli.console import out
    from drillctl.gateway.inspection import document, inspect

    estate = load_estate(inventory, lab)
    found = inspect(estate)
    if as_json:
        import json

        sys.stdout.write(json.dumps(document(estate, found), indent=2, ensure_ascii=False) + "\n")
    else:
        console = out()
        console.print(f"gateway of the kind {estate.gateway.kind}, {estate.gateway.url}", soft_wrap=True, markup=False)
        for host in found:
            none = "no single zone" if host.known else "where clients go is unknown"
            zone = f"clients go to {host.zone}" if host.zone else none
            console.print(f"{host.name}: {host.config}: {zone}", soft_wrap=True, markup=False)
            for line in (*host.facts, *(f"PROBLEM: {problem}" for problem in host.problems)):
                console.print(f"  {line}", soft_wrap=True, markup=False)
    if any(host.problems for host in found):
        raise typer.Exit(4)


@app.command()
def adopt(
    inventory: InventoryOption = None,
    lab: LabOption = False,
    undo: Annotated[bool, typer.Option("--undo", help="Put the original config back, byte for byte.")] = False,
    plan_only: Annotated[bool, typer.Option("--diff", help="Show the difference and stop; changes nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before anything is changed.")] = False,
) -> None:
    """Make nginx's config fit for drills: what its kind needs, and the fallback for when no zone answers.

    The difference is shown first. The new config is tested in the place of the live one before it goes live, and the
    original is kept beside it.
    """
    from drillctl.cli import consent
    from drillctl.cli.console import err
    from drillctl.errors import NotStarted
    from drillctl.gateway.adoption import Adoption
    from drillctl.hosts import fleet as fleets

    estate = load_estate(inventory, lab)
    administered = any(estate.login(host).by == "installed" for host in estate.gateway.hosts)
    with fleets.connect(estate) as fleet:
        adoption = Adoption(estate, fleet.transports)
        if undo and administered:
            raise _for_an_administrator("the original is kept beside the config, as `.drillctl-adopted-NAME`")
        plans = adoption.plan_undo() if undo else adoption.plan()
        _show(plans)
        if not any(plan.changes for plan in plans.values()):
            typer.echo("No original is kept: nothing to put back." if undo else "Nothing is missing.")
            return
        if plan_only:
            return
        if administered:
            raise _for_an_administrator("give them the difference (`--diff`)")
        if not yes:
            if not (sys.stdin.isatty() and sys.stderr.isatty()):
                raise NotStarted(
                    "there is no terminal to ask on",
                    hint="say --yes to change the config without being asked, or --diff to see the difference only",
                    state="nothing was changed",
                )
            what = "Put the original back" if undo else "Change the config"
            consent.ask(f"{what} on {', '.join(plans)} and reload nginx?")
        if undo:
            adoption.undo(plans)
        else:
            adoption.carry_out(plans)
        for name in plans:
            err().print(f"{name}: in force, and the same zone answers as before", soft_wrap=True, markup=False)
        typer.echo("The original is back." if undo else "Adopted; `drillctl gateway adopt --undo` puts it back.")


def _for_an_administrator(what: str) -> NotStarted:
    """Return the error where drillctl may not write a whole config: whoever may, may do anything as root."""
    from drillctl.errors import NotStarted

    return NotStarted(
        "the config is the administrator's there: only installed programs run as root for drillctl",
        hint=f"{what}; or, where they allow drillctl any command by sudo meanwhile, say `privileges: sudo` in the "
        "inventory",
        state="nothing was changed",
    )


def _show(plans: dict[str, HostPlan]) -> None:
    """Print each host's difference to stdout: it is what a person agrees to."""
    from drillctl.cli.console import out

    for name, plan in plans.items():
        added = sum(line.startswith("+") for line in plan.diff.splitlines()[2:])
        removed = sum(line.startswith("-") for line in plan.diff.splitlines()[2:])
        out().print(f"{name}: {added} lines added, {removed} removed", soft_wrap=True, markup=False)
        for line in plan.diff.splitlines():
            colour = {"+": "green", "-": "red"}.get(line[:1], "")
            out().print(line, style=colour or None, soft_wrap=True, markup=False)
