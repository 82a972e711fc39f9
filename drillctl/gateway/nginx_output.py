"""What nginx and the programs of `nginx_scripts.py` print, read (pure)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from drillctl.gateway.gateway import LogPosition

if TYPE_CHECKING:
    from drillctl.hosts.transport import Completed

_SECTION = re.compile(rb"^== (\w+)\n", re.MULTILINE)
_ALARM = re.compile(r"\[(emerg|alert|crit)\]")


def sections(output: bytes) -> dict[str, str]:
    """Return the sections that a script printed, by name, without the empty line before the next."""
    parts = _SECTION.split(output)
    texts = (part.decode("utf-8", "backslashreplace").strip("\n") for part in parts[2::2])
    return dict(zip((name.decode() for name in parts[1::2]), texts, strict=True))


def refusal(done: Completed) -> str:
    """Return why a script refused, or whatever it said."""
    return sections(done.stdout).get("refused") or done.complaint


def said(done: Completed) -> str:
    """Return what nginx said on stderr: its alarms if there are any, else all of it."""
    lines = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return "\n".join([line for line in lines if _ALARM.search(line)] or lines) or done.complaint


def last(text: str) -> str:
    """Return nginx's alarms if there are any, else the last line."""
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join([line for line in lines if _ALARM.search(line)] or lines[-1:]) or "it said nothing"


def position(text: str) -> LogPosition:
    """Return the position in a log that a script printed: inode and bytes."""
    inode, size = text.split()
    return LogPosition(int(inode), int(size))


def seconds(text: str) -> float:
    """Return a number of seconds that a program printed; what it could not tell counts as 0."""
    found = re.match(r"\d+(\.\d+)?", text)
    return float(found[0]) if found else 0.0
