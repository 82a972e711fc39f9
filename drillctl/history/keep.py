"""Storing a run at its end: whatever goes wrong here never touches the run's verdict."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from drillctl.errors import DrillctlError

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.inventory import Inventory
    from drillctl.report.model import Report

WITHIN_SECONDS = 20.0


def keep_run(report: Report, inventory: Inventory, say: Callable[[str], None], within: float = WITHIN_SECONDS) -> bool:
    """Store a run in the history; tell whether that was done, and otherwise say what to do.

    Nothing is raised, not even when a person interrupts it: the drill is over and its report stands. A database that
    does not answer `within` seconds is given up.
    """
    trouble: list[BaseException] = []

    def store() -> None:
        try:
            from drillctl.history.store import History

            with History.open(inventory=inventory) as history:
                history.add_run(report)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the drill's verdict stands
            trouble.append(error)

    # Not in this thread, because a driver that waits for a server that hangs cannot be interrupted.
    worker = threading.Thread(target=store, name="history", daemon=True)
    try:
        worker.start()
        worker.join(within)
    except (KeyboardInterrupt, SystemExit):
        say(_advice(report, "you stopped it", None))
        return False
    if worker.is_alive():
        say(_advice(report, f"the database did not answer within {within:g} s", None))
        return False
    if trouble:
        error = trouble[0]
        known = isinstance(error, DrillctlError)
        say(_advice(report, str(error) if known else f"{type(error).__name__}: {error}", error if known else None))
    return not trouble


def _advice(report: Report, why: str, error: BaseException | None) -> str:
    hint = error.hint if isinstance(error, DrillctlError) and error.hint else "see that the database is well"
    return (
        f"this run is not in the history: {why}\n"
        f"state: the verdict stands; the report is on disk: {report.folder}/report.json\n"
        f"next:  {hint}; then `drillctl history import {report.run_id}`"
    )
