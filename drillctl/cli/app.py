"""The command line: one file per command; this one puts them together."""

from __future__ import annotations

from typing import Annotated

import typer

from drillctl.cli import (
    gateway,
    history,
    lab,
    lease,
    notify,
    privileges,
    recover,
    report,
    run,
    schedule,
    schema,
    status,
    switch,
    validate,
    watch,
)

app = typer.Typer(
    name="drillctl",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Help by rich takes 0.2 s of imports; plain help is there at once.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 passed · 1 failed · 2 usage or invalid file · 3 inconclusive · 4 not started · 5 aborted, "
    "everything restored · 6 restore incomplete · 70 a bug.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from drillctl import __version__

        typer.echo(f"drillctl {__version__}")
        raise typer.Exit


@app.callback()
def drillctl(
    plain: Annotated[bool, typer.Option("--no-color", help="No colour, as with NO_COLOR.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Prove, on real hosts, that an image-recognition service survives the loss of a zone.

    --no-color and --debug may also follow the command.
    """
    if plain:
        from drillctl.cli.console import no_color

        no_color()


app.command(name="run", short_help="Drill: break the primary, switch, measure, put back.")(run.run)
app.command(name="switch", short_help="Point the gateway at a zone, and leave it so.")(switch.switch)
app.command(name="status", short_help="Both zones, the gateway, and what is not well.")(status.status)
app.command(name="watch", short_help="Look by the clock; print, store and tell what changed.")(watch.watch)
app.command(name="recover", short_help="Put back what a killed drill left.")(recover.recover)
app.command(name="report", short_help="The report of a run: HTML, Markdown, JUnit, JSON, CSV, evidence.")(report.report)
app.command(name="verify-bundle", short_help="Check an evidence bundle, and who vouches for it.")(report.verify_bundle)
app.add_typer(lease.app, name="lease", short_help="Who holds the hosts' leases; ending one by hand.")
app.add_typer(gateway.app, name="gateway", short_help="What the gateway is configured for; adopting its config.")
app.add_typer(privileges.app, name="privileges", short_help="What drillctl runs as root, and how to allow it.")
app.command(name="schedule", short_help="A drill by the clock: timer, crontab line, workflow.")(schedule.schedule)
app.command(name="notify", short_help="Send a test message to everybody who is told of alarms.")(notify.notify)
app.command(name="validate", short_help="Check inventory and playbooks; touches no host.")(validate.validate)
app.add_typer(history.app, name="history", short_help="The runs of the past: list, show, trend, export.")
app.command(name="schema", short_help="JSON Schema of playbooks and inventories, for editors.")(schema.schema)
app.add_typer(lab.app, name="lab", short_help="Real hosts on this machine, for trying and testing.")
