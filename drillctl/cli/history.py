"""`drillctl history`: the runs of the past, their trend, and what goes into and out of their database."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from drillctl.cli.estate import InventoryOption, LabOption, estate_or_none, only_one
from drillctl.cli.history_screen import print_json, print_runs, print_trend, say_none, write_page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from drillctl.history.record import RunRecord
    from drillctl.history.store import History

app = typer.Typer(invoke_without_command=True, help="The runs of the past: list, show, trend, export, import, prune.")

PlaybookOption = Annotated[str | None, typer.Option("--playbook", "-p", help="Only runs of this playbook.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="WHEN", help="From here on: 90d before now, or 2026-11-01 (UTC).")
]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Up to here, exclusive.")]


@app.callback()
def history(
    context: typer.Context,
    inventory: InventoryOption = None,
    lab: LabOption = False,
    playbook: PlaybookOption = None,
    verdict: Annotated[str | None, typer.Option("--verdict", help="Only runs that ended so, as `failed`.")] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List runs, the newest first; every run is there, also those that failed, were stopped or never started."""
    if context.invoked_subcommand is not None:
        _no_options(context)
        return
    from drillctl.history.record import UNFINISHED
    from drillctl.verdict import EXIT_CODES

    _one_of("--verdict", verdict, (*EXIT_CODES, UNFINISHED))
    begin, end = _times(since, until)
    with _open(inventory, lab) as store:
        runs = store.runs(_estate_name(store, inventory, lab), playbook, limit, verdict=verdict, since=begin, until=end)
        if as_json:
            print_json({"schema_version": 1, "history": store.address.shown, "runs": [run.document() for run in runs]})
        elif runs:
            print_runs(runs)
        else:
            filtered = any((inventory, lab, playbook, verdict, since, until))
            say_none(store, filtered=filtered)


@app.command()
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Its id, the beginning of one, or `last`.")],
    inventory: InventoryOption = None,
    lab: LabOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show the report of a run again, as it was printed when the run ended."""
    from drillctl.cli.console import out

    with _open(inventory, lab) as store:
        record = _find(store, run, _estate_name(store, inventory, lab))
        document = store.report(record.run_id)
    if as_json:
        print_json(document or {"schema_version": 1, **record.document()})
        return
    if document is not None:
        from pydantic import ValidationError

        from drillctl.report.model import Report
        from drillctl.report.terminal import render

        try:
            report = Report.model_validate(document)
        except ValidationError:
            out().print("The report is of another version of drillctl; what this one knows of it:")
        else:
            render(report, out())
            return
    for name, value in record.document().items():
        if value is not None:
            out().print(f"{name:22}{value}", markup=False, soft_wrap=True)


@app.command()
def trend(
    metric: Annotated[str, typer.Option("--metric", "-m", help="What to follow; `--metric help` lists all.")] = (
        "recovery_time"
    ),
    playbook: PlaybookOption = None,
    inventory: InventoryOption = None,
    lab: LabOption = False,
    last: Annotated[int, typer.Option("--last", min=1, max=100_000, help="So many of the newest runs.")] = 50,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write it as a page of its own.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Draw a metric over the runs of a playbook on an inventory; by default those of the newest run."""
    from drillctl.cli.console import out
    from drillctl.history.metric import METRICS
    from drillctl.history.trend import trend_of

    if metric == "help":
        for one in METRICS.values():
            out().print(f"{one.name:16}{one.about}{' (seconds)' if one.unit else ''}", markup=False, soft_wrap=True)
        return
    _one_of("--metric", metric, tuple(METRICS))
    with _open(inventory, lab) as store:
        newest = store.runs(_estate_name(store, inventory, lab), playbook, limit=1)
        if not newest:
            if as_json:
                print_json({"schema_version": 1, "runs": []})
            else:
                say_none(store, filtered=any((inventory, lab, playbook)))
            return
        series = newest[0].inventory, newest[0].playbook
        found = trend_of(store.runs(*series, limit=last), metric, *series)
        others = [one for one in store.series() if one != series] if playbook is None else []
    if html is not None:
        write_page(found, html)
    if as_json:
        print_json(found.document())
        return
    print_trend(found)
    if others:
        named = ", ".join(f"{book} on {estate}" for estate, book in others[:3])
        more = "" if len(others) <= 3 else f" and {len(others) - 3} more"
        out().print(f"also in the history: {named}{more} (--playbook, --inventory)", markup=False, soft_wrap=True)
    if html is not None:
        out().print(f"written: {html}", markup=False, soft_wrap=True)


@app.command()
def export(
    kind: Annotated[Literal["csv", "json"], typer.Option("--format", "-f", help="json: one document.")] = "csv",
    samples: Annotated[bool, typer.Option("--samples", help="Health samples instead of runs.")] = False,
    inventory: InventoryOption = None,
    lab: LabOption = False,
    playbook: PlaybookOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
) -> None:
    """Print runs (or health samples), the oldest first, for a spreadsheet or another program."""
    from drillctl.errors import UsageError
    from drillctl.history import export as exports

    if samples and playbook:
        raise UsageError("--playbook says nothing of samples", hint="leave out one of --samples and --playbook")
    begin, end = _times(since, until)
    with _open(inventory, lab) as store:
        name = _estate_name(store, inventory, lab)
        if samples:
            rows = (exports.sample_row(sample) for sample in store.each_sample(name, begin, end))
            fields = exports.SAMPLE_FIELDS
        else:
            runs = store.runs(name, playbook, since=begin, until=end)
            rows = (run.document() for run in reversed(runs))
            fields = exports.RUN_FIELDS
        if kind == "csv":
            exports.write_csv(sys.stdout, fields, rows)
        else:
            exports.write_json(sys.stdout, "samples" if samples else "runs", rows)


@app.command(name="import")
def import_runs(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", help="Folders or ids of runs; by default all here.")
    ] = None,
    inventory: InventoryOption = None,
    lab: LabOption = False,
    as_json: JsonOption = False,
) -> None:
    """Store the runs that the history lacks, from their folders. Safe to repeat; exit code 4 when one cannot be."""
    from drillctl.cli.console import out
    from drillctl.history import intake

    with _open(inventory, lab) as store:
        taken = list(intake.take(store, intake.folders(runs or ())))
        shown = store.address.shown
    bad = [one for one in taken if one.outcome == "not a run"]
    if as_json:
        listed = [{"folder": str(one.folder), "outcome": one.outcome, "detail": one.detail} for one in taken]
        print_json({"schema_version": 1, "history": shown, "runs": listed})
    else:
        for one in taken:
            if one.outcome != "already there" or one.detail or runs:
                detail = f": {one.detail}" if one.detail else ""
                out().print(f"{one.folder.name}  {one.outcome}{detail}", markup=False, soft_wrap=True)
        stored = sum(one.outcome.startswith("stored") for one in taken)
        there = sum(one.outcome == "already there" for one in taken)
        out().print(f"{stored} stored in {shown}, {there} already there", markup=False, soft_wrap=True)
    if bad:
        raise typer.Exit(4)


@app.command()
def prune(
    keep: Annotated[
        str | None, typer.Option("--keep", metavar="SPAN", help="Delete health samples older than this, as 90d.")
    ] = None,
    keep_runs: Annotated[
        str | None, typer.Option("--keep-runs", metavar="SPAN", help="Delete runs older than this, as 3y.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before runs are deleted.")] = False,
    inventory: InventoryOption = None,
    lab: LabOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete what is older than is wanted, of every inventory. Runs are kept unless --keep-runs is given.

    The runs' folders stay; `drillctl history import` would bring their runs back.
    """
    from datetime import UTC, datetime

    from drillctl.cli.console import out
    from drillctl.errors import UsageError
    from drillctl.history.span import span

    if keep is None and keep_runs is None:
        raise UsageError("nothing says what to keep", hint="--keep 90d for samples, --keep-runs 3y for runs")
    now = datetime.now(UTC)
    samples_before = None if keep is None else now - span(keep, "--keep")
    runs_before = None if keep_runs is None else now - span(keep_runs, "--keep-runs")
    with _open(inventory, lab) as store:
        if runs_before is not None and not yes:
            _agree(store, runs_before)
        pruned = store.prune(samples_before=samples_before, runs_before=runs_before)
        shown = store.address.shown
    if as_json:
        print_json({"schema_version": 1, "history": shown, "samples": pruned.samples, "runs": pruned.runs})
    else:
        out().print(f"deleted from {shown}: {pruned.samples} samples, {pruned.runs} runs", markup=False, soft_wrap=True)


# --- which database, which runs -------------------------------------------------------------------------------------


def _open(inventory: Path | None, lab: bool) -> History:
    """Open the history of an inventory, the lab's, or the default one. Raises UsageError, FileError, HistoryError."""
    import gc

    only_one(inventory, lab)
    # An import makes a hundred thousand objects that stay; to look for garbage among them takes 0.03 s.
    gc.disable()
    from drillctl.history.store import History

    gc.freeze()
    gc.enable()
    # The lab's runs are in the default history, whether or not the lab is up.
    return History.open(inventory=None if lab else estate_or_none(inventory, False))


def _no_options(context: typer.Context) -> None:
    """Refuse options of the list before the name of a subcommand, which would not see them."""
    from drillctl.errors import UsageError

    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise UsageError(
                f"--{name.replace('_', '-')} stands before `{context.invoked_subcommand}`, which does not see it",
                hint=f"drillctl history {context.invoked_subcommand} --{name.replace('_', '-')} …",
            )


def _estate_name(store: History, inventory: Path | None, lab: bool) -> str | None:
    """Return the inventory that was asked for by an option; None: all of them."""
    if lab:
        # The lab's runs are there when the lab is not; then it is the lab that drilled last.
        from drillctl import lab as labs

        current = labs.current()
        if current is not None:
            return f"lab-{current.driver}"
        newest = store.runs(environment="lab", limit=1)
        return newest[0].inventory if newest else "lab-systemd"
    estate = None if inventory is None else estate_or_none(inventory, False)
    return None if estate is None else estate.name


def _find(store: History, wanted: str, estate: str | None) -> RunRecord:
    """Return the run that is meant. Raises UsageError when there is none, or more than one."""
    from drillctl.errors import UsageError
    from drillctl.journal import LAST

    if wanted in LAST:
        runs = store.runs(estate, limit=1)
    else:
        exact = store.run(wanted)
        runs = [exact] if exact is not None else store.runs(estate, begins=wanted, limit=5)
    if not runs:
        raise UsageError(
            f"there is no run {wanted} in {store.address.shown}",
            hint="`drillctl history` lists them; `drillctl history import` stores those that are only on disk",
        )
    if len(runs) > 1:
        named = ", ".join(run.run_id for run in runs)
        raise UsageError(f"several runs begin with {wanted}", hint=f"say more of one: {named}")
    return runs[0]


def _times(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    from datetime import UTC, datetime

    from drillctl.history.span import when

    now = datetime.now(UTC)
    return (
        None if since is None else when(since, "--since", now),
        None if until is None else when(until, "--until", now),
    )


def _one_of(option: str, value: str | None, allowed: Sequence[str]) -> None:
    from drillctl.errors import UsageError

    if value is not None and value not in allowed:
        raise UsageError(f"{option} {value!r} is not known", hint=f"one of: {', '.join(allowed)}")


def _agree(store: History, before: datetime) -> None:
    """Ask before runs are deleted. Raises UsageError without a terminal, NotStarted at a no."""
    from drillctl.cli import consent
    from drillctl.errors import UsageError

    old = len(store.runs(until=before))
    if old == 0:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            f"{old} runs would be deleted, and there is no terminal to ask on",
            hint="say --yes to delete them without being asked",
            state="nothing was deleted",
        )
    question = f"Delete {old} runs from before {before:%Y-%m-%d %H:%M} UTC from the history?"
    consent.ask(question, state="nothing was deleted")
