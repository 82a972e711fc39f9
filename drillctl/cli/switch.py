"""`drillctl switch ZONE`: point the gateway at a zone and leave it so, for planned work or because it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from drillctl.cli.consent import Consent
from drillctl.cli.estate import InventoryOption, LabOption


def switch(
    zone: Annotated[str, typer.Argument(metavar="ZONE", help="The zone that is to serve, by name or role.")],
    inventory: InventoryOption = None,
    lab: LabOption = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before anything is changed.")] = False,
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", metavar="NAME", help="Agree by naming the estate, as production needs it."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="The serving zone is dead: ask nothing of it, check the target alone.")
    ] = False,
    images: Annotated[
        Path | None, typer.Option(help="Folder of images that clients send meanwhile; by default those that ship.")
    ] = None,
    rate: Annotated[float, typer.Option(help="Requests a second meanwhile.", min=1, max=1000)] = 20.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON document.")] = False,
) -> None:
    """Switch for real: the same gates, proofs and report as a drill, but nothing is broken and it stays switched."""
    from drillctl import playbook as books
    from drillctl import switchover
    from drillctl.cli import run as runs
    from drillctl.cli import streams
    from drillctl.cli.estate import only_one

    streams.carry_on()
    only_one(inventory, lab)
    folder = (images or books.find("planned-switchover").parent / "images").absolute()
    book = switchover.playbook_to(zone, folder, force=force, rate=rate)
    if not books.images(book):
        from drillctl.errors import UsageError

        raise UsageError(f"there are no images in {folder}", state="nothing was changed")
    with runs.estate_of(inventory, lab) as (estate, path, cannot_prove):
        switchover.check_gateway(estate)
        turned = switchover.towards(estate, zone)
        runs.show_plan(turned, book, (), result=False)
        consent = Consent(yes=yes, confirm=confirm)
        consent.check(estate)
        # Windows and blackouts are for drills: this is planned work, or the emergency itself.
        agreed = consent.ask(estate, f"Switch {estate.name} ({estate.environment}) to {turned.zone('standby').name}?")
        sources = runs.Sources(path.absolute(), None)
        people = runs.people_of(turned)
        report = runs.drill(turned, book, sources, (agreed,), cannot_prove, people, keep=True, force=force)
        runs.tell(turned, report)
        runs.show(report, as_json=as_json)
    runs.name_page(report, as_json=as_json)
    raise typer.Exit(report.exit_code)
