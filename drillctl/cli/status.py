"""`drillctl status`: every host's health and model, which zone the gateway names, and which one answers.

With --watch it stays: a live table on a terminal, elsewhere a line for each change, as `drillctl watch` prints them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from drillctl.cli.estate import InventoryOption, LabOption, load_estate
from drillctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from drillctl.inventory import Inventory
    from drillctl.overview import Overview
    from drillctl.survey import HostSurvey


def status(
    inventory: InventoryOption = None,
    lab: LabOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay, and show it live until Ctrl-C.")] = False,
    every: Annotated[str, typer.Option("--every", help="With --watch: how often to look.")] = "2s",
) -> None:
    """Show the state of both zones and the gateway. Exit code 0 only if all is well, 4 otherwise."""
    from drillctl.cli.console import out
    from drillctl.overview import overview

    if watch and as_json:
        raise UsageError("--watch and --json exclude each other", hint="`drillctl watch --once --json`")
    estate = load_estate(inventory, lab)
    if watch:
        from drillctl.cli.live import show

        show(estate, every)
        return
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

    from drillctl.cli.console import out

    console = out()
    console.print(host_table(found.hosts, estate))
    console.print(f"{found.configured}; {found.served}", soft_wrap=True, markup=False)
    for problem in found.problems:
        console.print(f"[yellow]![/] {escape(problem)}", soft_wrap=True)


def host_table(hosts: Iterable[HostSurvey], estate: Inventory) -> Table:
    """Return the table of zone hosts: what each one's server says of itself."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), show_edge=False, header_style="dim", title_justify="left")
    for name in ("host", "zone", "role", "health", "uptime", "on disk", "loaded", "device"):
        table.add_column(name, overflow="fold")
    for host in hosts:
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
    return table


def _hash(found: str | None, expected: str) -> str:
    """Return the start of a hash; words say when it is not the pinned one."""
    if found is None:
        return "[yellow]unknown[/]"
    return found[:12] if found == expected else f"[bold red]{found[:12]} WRONG[/]"
