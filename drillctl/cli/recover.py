"""`drillctl recover`: put back what a drill left that could not do so itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from drillctl.cli import completion
from drillctl.cli.estate import InventoryOption, LabOption, estate_or_none, load_estate, only_one

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drillctl.inventory import Inventory
    from drillctl.recover import Damaged, Recovered

_AGAIN = "Run `drillctl recover` again."


def recover(
    run: Annotated[
        str | None,
        typer.Argument(
            help="The run: its id, the beginning of it, or `last`; by default the last that left something.",
            autocompletion=completion.runs,
        ),
    ] = None,
    inventory: InventoryOption = None,
    lab: LabOption = False,
    insist: Annotated[
        bool, typer.Option("--insist", help="Go by the journal alone where a guard has no record of any run.")
    ] = False,
) -> None:
    """Put everything back that a killed drill left. Safe to repeat; exit code 6 when something could not be.

    From the journal if the drill ran on this machine, otherwise from what the guards on the inventory's hosts hold.
    With an inventory named, only that estate is touched. A host whose guard has let go of the run is left alone.
    """
    from drillctl import recover as recovery
    from drillctl.cli import streams
    from drillctl.cli.console import out

    streams.carry_on()
    only_one(inventory, lab)
    named = load_estate(inventory, lab) if inventory is not None or lab else None
    damaged = recovery.damaged()
    if run is not None:
        run_id: str | None = recovery.find(run, named)
        damaged = {one: why for one, why in damaged.items() if one == run_id}
    else:
        run_id = next(reversed(recovery.unfinished(named)), None)
    if run_id is not None and run_id not in damaged:
        if named is not None:
            recovery.check_estate(run_id, named)
        estate = named or load_estate(recovery.inventory_of(run_id), lab=False)
        out().print(f"Putting back what {run_id} left on {estate.name}.")
        _report_run(_from_journal(run_id, estate, insist=insist))
        return
    _from_guards(named or estate_or_none(None, lab=False), damaged.values())


def _from_journal(run_id: str, estate: Inventory, *, insist: bool) -> Recovered:
    from drillctl import recover as recovery
    from drillctl.cli.console import err
    from drillctl.cli.progress import Progress
    from drillctl.interrupt import Interrupt

    progress = Progress(err())
    try:
        with Interrupt(last_words=_AGAIN) as interrupt:
            return recovery.carry_out(run_id, estate, interrupt, progress, insist=insist)
    finally:
        progress.close()


def _from_guards(estate: Inventory | None, damaged: Iterable[Damaged]) -> None:
    """Put back what the guards of an estate hold. Runs whose journal cannot be used are named first.

    Raises the trouble of such a journal when there is no estate, and HostError when nothing is known to be outstanding
    and not every guard could be asked.
    """
    from drillctl.cli.console import err, out, show_error
    from drillctl.cli.progress import Progress
    from drillctl.guard import recovery
    from drillctl.interrupt import Interrupt

    bad = list(damaged)
    if estate is None and bad:
        raise bad[-1]
    for error in bad:
        show_error(error)
    if estate is None:
        out().print(
            "No run on this machine has left anything to put back. To ask the guards of an estate what they hold, "
            "name its inventory with --inventory.",
            soft_wrap=True,
        )
        return
    progress = Progress(err())
    try:
        with Interrupt(last_words=_AGAIN) as interrupt:
            recovered = recovery.carry_out(estate, interrupt, progress.note)
    finally:
        progress.close()
    if recovered.found:
        _report(recovered.left)
    elif bad:
        out().print(f"The guards of {estate.name} hold nothing to put back.")
    else:
        out().print(f"Nothing to put back: no run on this machine left anything, nor do the guards of {estate.name}.")


def _report_run(recovered: Recovered) -> None:
    """Say what was not touched and what is left, and end with exit code 6 when something is left."""
    from drillctl.cli.console import out

    for what in recovered.over:
        out().print(what, soft_wrap=True, markup=False)
    if recovered.left or (recovered.acted and not recovered.over):
        _report(recovered.left)
        return
    rest = "Everything else is put back." if recovered.acted else "Nothing was left to put back."
    out().print(f"{rest} `drillctl status` shows the estate.")


def _report(left: list[str]) -> None:
    """Say what is left, and end with exit code 6 when that is something."""
    from drillctl.cli.console import out

    for what in left:
        out().print(f"NOT put back: {what}", soft_wrap=True, markup=False)
    if left:
        out().print("Mend that, then run `drillctl recover` again; it is safe to repeat.")
        raise typer.Exit(6)
    out().print("Everything is put back. `drillctl status` shows the estate.")
