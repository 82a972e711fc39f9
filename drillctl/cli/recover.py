"""`drillctl recover`: put back what a drill left that could not do so itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from drillctl.cli.estate import InventoryOption, LabOption, estate_or_none, load_estate, only_one

if TYPE_CHECKING:
    from drillctl.inventory import Inventory

_AGAIN = "Run `drillctl recover` again."


def recover(
    run: Annotated[str | None, typer.Argument(help="The run; by default the last one that left something.")] = None,
    inventory: InventoryOption = None,
    lab: LabOption = False,
) -> None:
    """Put everything back that a killed drill left. Safe to repeat; exit code 6 when something could not be.

    From the journal if the drill ran on this machine, otherwise from what the guards on the inventory's hosts hold.
    With an inventory named, only that estate is touched.
    """
    from drillctl import recover as recovery
    from drillctl.cli.console import out

    only_one(inventory, lab)
    named = load_estate(inventory, lab) if inventory is not None or lab else None
    if run is not None and named is not None:
        recovery.check_estate(run, named)
    left_over = recovery.unfinished(named)
    if run is not None or left_over:
        run_id = run or left_over[-1]
        estate = named or load_estate(recovery.inventory_of(run_id), lab=False)
        out().print(f"Putting back what {run_id} left on {estate.name}.")
        _report(_from_journal(run_id, estate))
        return
    default = named or estate_or_none(None, lab=False)
    if default is None:
        out().print(
            "No run on this machine has left anything to put back. To ask the guards of an estate what they hold, "
            "name its inventory with --inventory.",
            soft_wrap=True,
        )
        return
    left = _from_guards(default)
    if left is None:
        out().print(f"Nothing to put back: no run on this machine left anything, nor do the guards of {default.name}.")
    else:
        _report(left)


def _from_journal(run_id: str, estate: Inventory) -> list[str]:
    from drillctl import recover as recovery
    from drillctl.cli.console import err
    from drillctl.cli.progress import Progress
    from drillctl.interrupt import Interrupt

    progress = Progress(err())
    try:
        with Interrupt(last_words=_AGAIN) as interrupt:
            return recovery.carry_out(run_id, estate, interrupt, progress)
    finally:
        progress.close()


def _from_guards(estate: Inventory) -> list[str] | None:
    """Return what could not be put back; None when the guards hold nothing."""
    from drillctl.cli.console import err
    from drillctl.cli.progress import Progress
    from drillctl.guard import recovery
    from drillctl.interrupt import Interrupt

    progress = Progress(err())
    try:
        with Interrupt(last_words=_AGAIN) as interrupt:
            recovered = recovery.carry_out(estate, interrupt, progress.note)
    finally:
        progress.close()
    return recovered.left if recovered.found or recovered.left else None


def _report(left: list[str]) -> None:
    """Say what is left, and end with exit code 6 when that is something."""
    from drillctl.cli.console import out

    for what in left:
        out().print(f"NOT put back: {what}", soft_wrap=True, markup=False)
    if left:
        out().print("Mend that, then run `drillctl recover` again; it is safe to repeat.")
        raise typer.Exit(6)
    out().print("Everything is put back. `drillctl status` shows the estate.")
