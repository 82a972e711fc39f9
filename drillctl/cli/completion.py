"""What the shell offers at Tab: playbooks that ship, the estate's zones and hosts, and runs on this machine.

A file that cannot be read offers nothing, and without an offer the shell completes paths: a Tab is no place for errors.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drillctl.inventory import Inventory


def playbooks(incomplete: str) -> list[str]:
    """Return the playbooks that ship; files of one's own are completed by the shell."""
    from drillctl import playbook

    return _beginning(incomplete, playbook.builtin())


def zones(context: typer.Context, incomplete: str) -> list[str]:
    """Return the zones of the estate, by name and role."""
    estate = _estate(context)
    return _beginning(incomplete, [name for z in estate.zones for name in (z.name, z.role)] if estate else ())


def hosts(context: typer.Context, incomplete: str) -> list[str]:
    """Return the hosts of the estate."""
    estate = _estate(context)
    return _beginning(incomplete, [host.name for host in estate.hosts] if estate else ())


def runs(incomplete: str) -> list[str]:
    """Return the ids of the runs on this machine, the newest first."""
    from drillctl.journal import runs_folder

    try:
        names = [path.name for path in runs_folder().iterdir() if path.is_dir()]
    except OSError:
        names = []
    return _beginning(incomplete, sorted(names, reverse=True))


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _estate(context: typer.Context) -> Inventory | None:
    from drillctl.cli.estate import load_estate
    from drillctl.errors import DrillctlError

    given = context.params.get("inventory")
    try:
        return load_estate(Path(given) if given else None, bool(context.params.get("lab")))
    except (DrillctlError, OSError):
        return None
