"""The sudoers file of a host: which programs the drill's user may run as root, and nothing else (pure)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from drillctl.errors import UsageError
from drillctl.privileges import registry

if TYPE_CHECKING:
    from drillctl.inventory import Host, Inventory


def text(inventory: Inventory, host: Host) -> str:
    """Return the sudoers file of a host, as sudoers(5) has it; empty where drillctl needs no root.

    Raises UsageError when the inventory does not say who logs in.
    """
    programs = registry.programs(inventory, host)
    if not programs:
        return ""
    # What is part of sudoers' own language is escaped in a word (sudoers(5), other special characters).
    user = re.sub(r"([@\\])", r"\\\1", user_of(inventory, host))
    # Without arguments in its line a program may be called with any; each program checks its own (docs/privileges.md).
    commands = ", \\\n    ".join(program.path + ("" if any(program.variants) else ' ""') for program in programs)
    return f"""\
# What drillctl may do as root on {host.name}, of the estate `{inventory.name}`. Written by `drillctl privileges`.
# Nothing but these programs; each refuses every argument that is not for this estate. docs/privileges.md tells more.
Cmnd_Alias DRILLCTL = \\
    {commands}

Defaults:{user} env_reset, !setenv, !requiretty
{user} ALL = (root) NOPASSWD: DRILLCTL
"""


def user_of(inventory: Inventory, host: Host) -> str:
    """Return who logs in to a host. Raises UsageError when the inventory leaves it open, or it is root."""
    user = inventory.login(host).user
    if user is None:
        raise UsageError(
            f"the inventory does not say who logs in to {host.name}",
            hint="set `ssh: {user: drill, privileges: installed}` in it",
            state="nothing was changed",
        )
    if user == "root":
        raise UsageError(
            f"the inventory logs in to {host.name} as root, who needs no privileges",
            hint="set `ssh.user` to a user of drillctl's own, such as `drill`",
            state="nothing was changed",
        )
    return user
