"""`drillctl switch ZONE`: point the gateway at a zone and leave it so, for planned work or because it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from drillctl.cli import completion, streams
from drillctl.cli import run as runs
from drillctl.cli.consent import Consent
from drillctl.cli.estate import InventoryOption, LabOption, only_one
from drillctl.cli.people import ApproverOption, ParticipantOption, check_names, people_of
from drillctl.cli.run import JsonOption, PlanOption


def switch(
    zone: Annotated[
        str,
        typer.Argument(
            metavar="ZONE", help="The zone that is to serve, by name or role.", autocompletion=completion.zones
        ),
    ],
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
    plan_only: PlanOption = False,
    as_json: JsonOption = False,
    approver: ApproverOption = None,
    participant: ParticipantOption = None,
) -> None:
    """Switch for real: the proofs and report of a drill, but nothing is broken and it stays switched.

    A person agrees as to a drill; windows, blackouts and the time between drills do not hold it back.
    """
    from drillctl import playbook as books
    from drillctl import switchover
    from drillctl.plan import make_plan

    streams.carry_on()
    only_one(inventory, lab)
    check_names(approver, *(participant or ()))
    folder = (images or books.find("planned-switchover").parent / "images").absolute()
    book = switchover.playbook_to(zone, folder, force=force, rate=rate)
    if not books.images(book):
        from drillctl.errors import UsageError

        raise UsageError(f"there are no images in {folder}", state="nothing was changed")
    with runs.estate_of(inventory, lab, bring_up=not plan_only) as (estate, path, cannot_prove):
        switchover.check_gateway(estate)
        turned = switchover.towards(estate, zone)
        plan = make_plan(turned, book, keep=True, force=force)
        runs.show_plan(plan, turned, book, (), result=plan_only, as_json=as_json)
        if plan_only:
            return
        consent = Consent(yes=yes, confirm=confirm)
        consent.check(estate)
        # Windows and blackouts are for drills: this is planned work, or the emergency itself.
        agreed = consent.ask(estate, f"Switch {estate.name} ({estate.environment}) to {turned.zone('standby').name}?")
        sources = runs.Sources(path.absolute(), None)
        people = people_of(turned, approver, participant)
        report = runs.drill(turned, book, sources, (agreed,), cannot_prove, people, keep=True, force=force)
        runs.tell(turned, report)
        runs.show(report, as_json=as_json)
    runs.name_page(report, as_json=as_json)
    raise typer.Exit(report.exit_code)
