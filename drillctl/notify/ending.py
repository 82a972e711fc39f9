"""Telling people how a drill ended: after everything was put back, bounded in time, and never an error of the drill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.errors import DrillctlError
from drillctl.notify.message import of_report
from drillctl.notify.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.inventory import Inventory
    from drillctl.notify.sender import Patience
    from drillctl.report.model import Report

LONGEST = 40.0
"""Seconds that the end of a drill waits for services that do not answer: three attempts and the pauses between them."""


def tell_of_drill(
    inventory: Inventory, report: Report, note: Callable[[str], None], patience: Patience | None = None
) -> None:
    """Tell the channels of an inventory that want drills; `note` is given why one was not told."""
    if not inventory.notify:
        return
    try:
        sender = Sender.of(inventory, note, patience)
        sender.send(of_report(inventory, report))
        late = sender.close(LONGEST)
    except DrillctlError as error:
        note(str(error))
    except Exception as error:  # noqa: BLE001 - the drill's verdict must not fall to those who are told of it
        # Not its words: they may hold a part of a URL.
        note(f"nobody was told of the drill: a bug in drillctl, {type(error).__name__}")
    else:
        if late:
            note(f"not told of the drill within {LONGEST:g} s: {', '.join(late)}")
