"""`drillctl recover`: put back what a drill left that could not do so itself."""

from __future__ import annotations

from typing import Annotated

import typer

from drillctl.cli.estate import InventoryOption


def recover(
    run: Annotated[str | None, typer.Argument(help="The run; by default the last one that left something.")] = None,
    inventory: InventoryOption = None,
) -> None:
    """Put everything back that a killed drill left. Safe to repeat; exit code 6 when something could not be."""
    from drillctl import inventory as inventories
    from drillctl import recover as recovery
    from drillctl.cli.console import err, out
    from drillctl.cli.progress import Progress
    from drillctl.interrupt import Interrupt

    left_over = recovery.unfinished()
    if run is None and not left_over:
        out().print("No run on this machine has left anything to put back.")
        return
    run_id = run or left_over[-1]
    estate = inventories.load(inventory or recovery.inventory_of(run_id))
    out().print(f"Putting back what {run_id} left on {estate.name}.")
    progress = Progress(err())
    try:
        with Interrupt(last_words="Run `drillctl recover` again.") as interrupt:
            left = recovery.carry_out(run_id, estate, interrupt, progress)
    finally:
        progress.close()
    for what in left:
        out().print(f"NOT put back: {what}", soft_wrap=True, markup=False)
    if left:
        out().print("Mend that, then run `drillctl recover` again; it is safe to repeat.")
        raise typer.Exit(6)
    out().print("Everything is put back. `drillctl status` shows the estate.")
