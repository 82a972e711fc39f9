"""`--approver` and `--participant`: who answers for a run, and takes part in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from drillctl.inventory import Inventory
    from drillctl.run import People

ApproverOption = Annotated[str | None, typer.Option(metavar="NAME", help="Who approved it, for the report.")]
ParticipantOption = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="Who takes part; may be given again.")
]


def check_names(*names: str | None) -> None:
    """Refuse a name that no report could show. Raises UsageError."""
    from drillctl.errors import UsageError

    for name in names:
        if name is not None and not (name.isprintable() and 0 < len(name.strip()) <= 200):
            raise UsageError(
                f"{ascii(name)[:80]} is no name for the report",
                hint="--approver and --participant take one line of at most 200 characters",
                state="nothing was changed",
            )


def people_of(estate: Inventory, approver: str | None = None, participants: list[str] | None = None) -> People:
    """Return who answers for a run: as said on the command line, otherwise as the inventory says."""
    from drillctl.run import People

    return People(approver or estate.approver, tuple(participants or estate.participants), _operator())


def _operator() -> str:
    """Return the account that runs drillctl, and where."""
    import platform

    from drillctl import account

    return f"{account.user()}@{platform.node()}"
