"""`drillctl status`: every host's health and model, which zone the gateway names, and which one answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from drillctl.cli.estate import InventoryOption, LabOption, load_estate

if TYPE_CHECKING:
    from drillctl.inventory import Inventory
    from drillctl.overview import Overview


def status(
    inventory: InventoryOption = None,
    lab: LabOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show the state of both zones and the gateway. Exit code 0 only if all is well, 4 otherwise."""
    from drillctl.cli.console import out
    from drillctl.overview import overview

    estate = load_estate(inventory, lab)
    found = overview(estate)
    if as_json:
        typer.echo(json.dumps(found.document(), ensure_ascii=False, indent=2))
    else:
        _render(found, estate)
        out().print("[bold green]all is well[/]" if found.ok else "[bold red]NOT all is well[/] (exit code 4)")
    if not found.ok:
        raise typer.Exit(4)


def _render(found: Overview, estate: Inventory) -> None:
    from rich.markup import escape
    from rich.table import Table

    from drillctl.cli.console import out

    table = Table(box=None, padding=(0, 1), show_edge=False, header_style="dim", title_justify="left")
    for name in ("host", "zone", "role", "health", "uptime", "on disk", "loaded", "device"):
        table.add_column(name, overflow="fold")
    for host in found.hosts:
        uptime = "" if host.health.uptime_sec is None else f"{host.health.uptime_sec:.0f} s"
        table.add_row(
            host.name,
            host.zone,
            host.role,
            f"[green]{escape(host.health.health)}[/]" if host.health.ready else f"[red]{escape(host.health.health)}[/]",
            uptime,
            _hash(host.sha256_disk, estate.service.model.sha256),
            _hash(host.sha256_loaded, estate.service.model.sha256),
            escape(host.device or ""),
        )
    console = out()
    console.print(table)
    answers = found.serving_zone or "nobody"
    console.print(f"gateway is configured for {found.configured_zone or 'no single zone'}; {answers} answers")
    for problem in found.problems:
        console.print(f"[yellow]![/] {escape(problem)}", soft_wrap=True)


def _hash(found: str | None, expected: str) -> str:
    """Return the start of a hash; words say when it is not the pinned one."""
    if found is None:
        return "[yellow]unknown[/]"
    return found[:12] if found == expected else f"[bold red]{found[:12]} WRONG[/]"
