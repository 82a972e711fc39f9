"""`drillctl run PLAYBOOK`: show the plan, ask, drill, report."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drillctl.cli import completion, streams
from drillctl.cli.consent import Consent, not_asked
from drillctl.cli.estate import InventoryOption, LabOption, inventory_path, no_lab, only_one
from drillctl.cli.people import ApproverOption, ParticipantOption, check_names, people_of
from drillctl.cli.variables import VariablesOption, given

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drillctl.cli.progress import Progress
    from drillctl.gates import Gate
    from drillctl.inventory import Inventory
    from drillctl.plan import Plan
    from drillctl.playbook import Playbook
    from drillctl.report.model import Report
    from drillctl.run import People

PlaybookArgument = Annotated[
    str,
    typer.Argument(
        metavar="PLAYBOOK", help="A built-in one by name, or a file by path.", autocompletion=completion.playbooks
    ),
]
PlanOption = Annotated[bool, typer.Option("--plan", help="Show the plan and stop; touches no host.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the report (or the plan) as one JSON document.")]


def run(
    playbook: PlaybookArgument,
    inventory: InventoryOption = None,
    lab: LabOption = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before anything is changed; not enough for production.")
    ] = False,
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", metavar="NAME", help="Agree by naming the estate, as production needs it."),
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--override-gate", metavar="GATE", help="Drill though window, blackout or interval says no; with --reason."
        ),
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why a gate is overridden; goes into the report.")
    ] = None,
    plan_only: PlanOption = False,
    as_json: JsonOption = False,
    fail_if: Annotated[
        list[str] | None,
        typer.Option("--fail-if", metavar="RULE", help="Fail by it, as 'recovery_time > 1.25 * p50(last 10)'."),
    ] = None,
    variables: VariablesOption = None,
    approver: ApproverOption = None,
    participant: ParticipantOption = None,
) -> None:
    """Drill: break the primary for real, switch, measure, prove, and put everything back."""
    from drillctl import fit
    from drillctl import playbook as books
    from drillctl.plan import make_plan

    only_one(inventory, lab)
    check_names(approver, *(participant or ()))
    overrides = _overrides(override or [], reason)
    consent = Consent(yes=yes, confirm=confirm)
    file = books.find(playbook)
    book = books.with_regressions(books.load(file, given(variables)), fail_if or ())
    with estate_of(inventory, lab, bring_up=not plan_only) as (estate, path, cannot_prove):
        fit.check(file, given(variables), book, estate)
        gates = calendar_gates(estate, book, overrides)
        show_plan(make_plan(estate, book), estate, book, gates, result=plan_only, as_json=as_json)
        if plan_only:
            return
        streams.carry_on()
        consent.check(estate)
        if all(gate.lets_through for gate in gates):
            agreed = consent.ask(estate)
            # A person may have thought about it until after the window closed, or while somebody else drilled.
            gates = calendar_gates(estate, book, overrides)
        else:
            agreed = not_asked(estate)
        people = people_of(estate, approver, participant)
        sources = Sources(path.absolute(), file.absolute())
        report = drill(estate, book, sources, (*gates, agreed), cannot_prove, people)
        tell(estate, report)
        show(report, as_json=as_json)
    name_page(report, as_json=as_json)
    raise typer.Exit(report.exit_code)


def show(report: Report, *, as_json: bool) -> None:
    """Print the report: one JSON document, or for a person. Where stdout does not take it, say where it is."""
    from drillctl.cli.console import err, out
    from drillctl.report.terminal import render

    if as_json:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
        sys.stdout.flush()
    else:
        render(report, out())
    if why := streams.lost():
        err().print(f"the report could not be printed ({why}); it is in {report.folder}", soft_wrap=True, markup=False)


def name_page(report: Report, *, as_json: bool) -> None:
    """Name the HTML report last of all: where to go on reading."""
    from drillctl.cli.console import err, out

    page = Path(report.folder) / "report.html"
    if page.is_file():
        (err() if as_json else out()).print(f"report: {page}", soft_wrap=True, markup=False)


@dataclass(frozen=True)
class Sources:
    """The files that a run was made from; `drillctl recover` reads them again."""

    inventory: Path
    playbook: Path | None


def calendar_gates(estate: Inventory, book: Playbook, overrides: dict[str, str]) -> tuple[Gate, ...]:
    """Return the gates of the calendar as they are now. Raises NotStarted when the last drill cannot be told."""
    from datetime import UTC, datetime, timedelta

    from drillctl import gates
    from drillctl.errors import NotStarted
    from drillctl.last_drill import LastDrill, Unknown, of_estate

    last: LastDrill | Unknown | None = None
    if estate.gates.minimum_hours_between_drills is not None:
        try:
            last = of_estate(estate)
        except NotStarted as error:
            # Whoever overrides the interval need not be able to say how long it was.
            if "interval" not in overrides:
                raise
            last = Unknown(error.message)
    needed = timedelta(seconds=book.stop.time_box_seconds)
    return gates.of_calendar(estate, datetime.now(UTC), needed, last, overrides)


def drill(
    estate: Inventory,
    book: Playbook,
    sources: Sources,
    gates: tuple[Gate, ...],
    cannot_prove: tuple[str, ...] = (),
    people: People | None = None,
    *,
    keep: bool = False,
    force: bool = False,
) -> Report:
    """Carry out a playbook, store its journal and report in the run's folder, and return the report.

    `gates` are those that were decided before, the agreement of a person among them; a closed one refuses the drill.
    `keep`: a switch that succeeds stays. `force`: nothing is asked of the zone that serves.
    """
    from drillctl import drill as drills
    from drillctl import snapshot
    from drillctl.cli.console import err
    from drillctl.cli.progress import Progress
    from drillctl.history.keep import keep_run
    from drillctl.history.regression import read_past
    from drillctl.interrupt import Interrupt
    from drillctl.journal import Journal, new_run, utc_now
    from drillctl.report.keep import keep_report
    from drillctl.report.model import make_report
    from drillctl.run import Run

    run_id, folder = new_run(book.name)
    progress = Progress(err())
    started_at, began = utc_now(), time.monotonic()
    journal = Journal(folder / "journal.jsonl")
    journal.claim()
    journal.record(
        "run",
        run_id=run_id,
        playbook_file=str(sources.playbook),
        inventory_file=str(sources.inventory),
        inventory=estate.name,
        playbook=book.name,
        environment=estate.environment,
        standby=estate.zone("standby").name,
        force=force,
    )
    snapshot.keep_playbook(folder, book)
    last_words = f"`drillctl recover {run_id}` puts everything back."
    try:
        _keep_sources(folder, estate, book, progress)
        with Interrupt(last_words=last_words) as interrupt:
            one = Run(
                run_id=run_id,
                folder=folder,
                inventory=estate,
                playbook=book,
                journal=journal,
                interrupt=interrupt,
                watcher=progress,
                keep=keep,
                force=force,
            )
            one.people = people or one.people
            one.findings.gates = gates
            one.findings.not_proven += [what for what in cannot_prove if estate.waived(what) is None]
            one.findings.past = read_past(estate, book.name, book.objectives.regressions, progress.note)
            ending = drills.carry_out(one)
        report = make_report(one, ending, started_at, utc_now(), time.monotonic() - began)
        journal.record("verdict", verdict=report.verdict, exit_code=report.exit_code)
        keep_report(one, report, progress.note)
        keep_run(report, estate, progress.note)
    finally:
        progress.close()
        journal.close()
    return report


def tell(estate: Inventory, report: Report) -> None:
    """Tell people how the drill ended."""
    from drillctl.cli.console import err
    from drillctl.notify.ending import tell_of_drill

    tell_of_drill(estate, report, lambda text: err().print(text, soft_wrap=True, markup=False))


def _keep_sources(folder: Path, estate: Inventory, book: Playbook, progress: Progress) -> None:
    from drillctl.report import stored

    try:
        stored.keep_sources(folder, estate, book)
    except OSError as error:
        progress.note(f"inventory and playbook could not be kept for the report: {error.strerror}")


@contextlib.contextmanager
def estate_of(
    given: Path | None, lab: bool, *, bring_up: bool = True
) -> Iterator[tuple[Inventory, Path, tuple[str, ...]]]:
    """Yield inventory, its file, and what its hosts cannot prove.

    A lab that was not up is up only meanwhile; without `bring_up` there must be one, or UsageError is raised.
    """
    from drillctl import inventory as inventories

    if not lab:
        path = inventory_path(given, or_lab=True)
        yield inventories.load(path), path, ()
        return
    from drillctl import lab as labs
    from drillctl.cli.console import err

    current = labs.current()
    if current is None and not bring_up:
        raise no_lab()
    began = time.monotonic()
    made = current or labs.up()
    if current is None:
        err().print(f"The lab is up after {time.monotonic() - began:.1f} s: {len(made.hosts)} {made.driver} hosts.")
    try:
        yield inventories.load(made.inventory), made.inventory, made.cannot_prove
    finally:
        if current is None:
            labs.down()
            err().print("The lab is down again; `drillctl lab up` keeps one.")


def show_plan(
    plan: Plan, estate: Inventory, book: Playbook, gates: tuple[Gate, ...], *, result: bool, as_json: bool = False
) -> None:
    """Print the plan: to stdout when it is the result that was asked for, to stderr when a drill follows.

    `as_json`: as one document, where it is the result.
    """
    from drillctl.cli.console import err, out
    from drillctl.report.plan_lines import plan_document, plan_lines
    from drillctl.report.terminal import render_plan

    if result and as_json:
        sys.stdout.write(json.dumps(plan_document(plan, estate, book, gates), ensure_ascii=False, indent=2) + "\n")
        return
    console = out() if result else err()
    if console.is_terminal:
        render_plan(plan, estate, book, console, gates)
        return
    for line in plan_lines(plan, estate, book, gates):
        console.print(line, soft_wrap=True, markup=False)


def _overrides(names: list[str], reason: str | None) -> dict[str, str]:
    """Return the reason by overridden gate. Raises UsageError for a gate that cannot be, and without a reason."""
    from drillctl.errors import UsageError

    if not names and reason is None:
        return {}
    from drillctl.gates import OVERRIDABLE

    unchanged = "nothing was changed"
    for name in names:
        if name not in OVERRIDABLE:
            raise UsageError(
                f"the gate `{name}` cannot be overridden",
                hint=f"those that can: {', '.join(OVERRIDABLE)}; what else refuses a drill has to be put right",
                state=unchanged,
            )
    if not names:
        raise UsageError("--reason is for --override-gate", hint="name the gate as well", state=unchanged)
    if reason is None or len(reason.strip()) < 10 or not reason.isprintable():
        raise UsageError(
            "a gate is overridden with a --reason, in one line of at least 10 characters",
            hint="say what the emergency is and who decided; it goes into the report",
            state=unchanged,
        )
    return dict.fromkeys(names, reason.strip())
