"""A program that an administrator installs on a host, for drillctl to run as root: its text and its checks (pure)."""

from __future__ import annotations

import hashlib
import shlex
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drillctl.privileges.argument import PRELUDE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drillctl.privileges.argument import Argument

FOLDER = "/usr/local/libexec/drillctl"
REFUSED = 126
"""The exit code of an installed program that did nothing, because it was asked for something else than it is for."""

Variant = tuple["Argument | tuple[Argument, ...]", ...]
"""The arguments of one way to call a program, in order; a tuple among them stands for any one of its members."""

_HEAD = """\
set -u
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin
# At a terminal systemctl would show what is long in a pager, and from that anybody gets a shell.
export PAGER=cat SYSTEMD_PAGER=cat SYSTEMD_PAGERSECURE=1 SYSTEMD_LESS='' LESSSECURE=1
umask 022
cd / || exit 126
deny() { printf 'refused, nothing was done: %s\\n' "$*" >&2; exit 126; }
"""


@dataclass(frozen=True)
class Program:
    """One program: `source` is what drillctl would run by `sh -c` with the same arguments where it may run anything.

    `variants` are the ways in which it may be called; all else is refused. `checks` is shell that runs once the
    arguments are accepted, and sees them; it may call `deny`. `functions` is what `checks` needs. `command` is set
    for a plain command: the program then takes no arguments.
    """

    name: str
    does: str
    source: str
    variants: tuple[Variant, ...] = ((),)
    functions: str = ""
    checks: str = ""
    command: tuple[str, ...] | None = None

    @property
    def path(self) -> str:
        """Return where it is installed."""
        return f"{FOLDER}/{self.name}"

    @property
    def arguments(self) -> tuple[str, ...]:
        """Return the ways to call it, for people."""
        return tuple(
            " ".join("|".join(map(str, a)) if isinstance(a, tuple) else str(a) for a in variant)
            for variant in self.variants
        )

    @property
    def text(self) -> str:
        """Return the whole program as it is installed."""
        takes = "".join(_accepts(variant) for variant in self.variants)
        return (
            f"#!/bin/sh\n# drillctl's {self.name}: {self.does}\n"
            "# For sudo to run as root. Its arguments must be these; otherwise it does nothing and ends with 126:\n"
            + "".join(f"#   {line}\n" for call in self.arguments for line in wrapped(call or "(none)"))
            + _HEAD
            + PRELUDE
            + self.functions
            + f"takes() {{\n{takes}    return 1\n}}\n"
            + f'takes "$@" || deny "these are not the arguments of {self.name}"\n'
            + self.checks
            + "set +u\n\n# --- what it does "
            + "-" * 101
            + "\n"
            # A line's end at the end: the script that installs it can write no other text.
            + self.source.strip("\n")
            + "\n"
        )

    @property
    def sha256(self) -> str:
        """Return the hash of its text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Needs:
    """What a gateway's kind needs on a host: programs, and undos that the guard there may be given.

    An undo is its kind and its arguments. `checks` is shell of the guard's program, as a program's own: it judges what
    is registered. `watched` are the files that root acts on, whose folders nobody else may write; nor may anybody else
    write those of them that are `trusted`.
    """

    programs: tuple[Program, ...]
    undos: tuple[Variant, ...]
    watched: tuple[str, ...]
    trusted: tuple[str, ...]
    functions: str = ""
    checks: str = ""


def plain(name: str, does: str, argv: Sequence[str]) -> Program:
    """Return the program that stands for a command without variable words."""
    return Program(name, does, f"exec {shlex.join(argv)}\n", command=tuple(argv))


def _accepts(variant: Variant) -> str:
    """Return the shell that returns from `takes` with success when the arguments are of a variant."""
    lines = [f"    if [ $# = {len(variant)} ]"]
    for number, argument in enumerate(variant, start=1):
        name = f"${number}" if number < 10 else f"${{{number}}}"
        options = argument if isinstance(argument, tuple) else (argument,)
        tests = [option.test.replace('"$1"', f'"{name}"', 1) for option in options]
        lines.append(f"        {tests[0]}" if len(tests) == 1 else f"        {{ {' || '.join(tests)}; }}")
    return " &&\n".join(lines) + "; then return 0; fi\n"


def wrapped(call: str) -> list[str]:
    """Return a way to call a program, in lines that can be read."""
    return textwrap.wrap(call, 100, break_long_words=False, break_on_hyphens=False, subsequent_indent="    ")
