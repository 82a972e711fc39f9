"""Which mode and owner a file beside the config must have where only installed programs may put it back (pure).

Whoever could have a file written with any mode and owner could have one made that runs as root, or that is their own.
"""

from __future__ import annotations

MODES = ("600", "640", "644")
OWNER = "0:0"


def not_put_back(mode: str, owner: str) -> str | None:
    """Return why installed programs would not put a file of this mode and owner back; None when they would."""
    if owner == OWNER and mode in MODES:
        return None
    return f"has mode {mode} and owner {owner}, not {', '.join(MODES[:-1])} or {MODES[-1]} and root's"
