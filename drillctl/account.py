"""Who runs drillctl on this machine."""

from __future__ import annotations

import getpass
import os


def user() -> str:
    """Return the name of the account that runs drillctl; its number when it has no name, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
