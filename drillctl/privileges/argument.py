"""What an argument of an installed program may be: a fixed text, or one with a stretch of certain characters (pure)."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Argument:
    """`before`, then `least` to `most` characters of a set, then `after`; only `before` when the set is empty.

    `characters` is the inside of a bracket expression of a shell pattern, such as `0-9a-f`; it is `called` so. The
    first of them is of the set `first`, if there is one.
    """

    before: str
    characters: str = ""
    after: str = ""
    called: str = ""
    least: int = 1
    most: int = 128
    first: str = ""

    def within(self, before: str, after: str = "") -> Argument:
        """Return this argument as a part of a longer text."""
        return replace(self, before=before + self.before, after=self.after + after)

    @property
    def test(self) -> str:
        """Return the shell's test that `$1` is such an argument, by the functions of PRELUDE."""
        if not self.characters:
            return f'is "$1" {shlex.quote(self.before)}'
        words = [self.before, self.characters, self.after, str(self.least), str(self.most), self.first]
        return f'like "$1" {" ".join(map(shlex.quote, words if self.first else words[:-1]))}'

    def __str__(self) -> str:
        """Return it for people: what varies is in angle brackets."""
        text = f"{self.before}<{self.called}>{self.after}" if self.characters else self.before
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
        return text if text and not set(text) & set(" \t'\"") else f"'{text}'"


def exactly(text: str) -> Argument:
    """Return an argument that can only be one text."""
    return Argument(text)


RUN = Argument("", "A-Za-z0-9._-", called="run", first="0-9")
"""A run's id. Of its characters no path but a single name can be made, as long as a name is before it.

It begins with the digits of a date: what `gateway adopt` keeps in `.drillctl-adopted-NAME` is of no run.
"""

ID = Argument("", "a-z0-9.-", called="id")
SHA256 = Argument("", "0-9a-f", called="sha256", least=64, most=64)
SHA256_OR_NOTHING = Argument("", "0-9a-f", called="sha256 or nothing", least=0, most=64)
NUMBER = Argument("", "0-9", called="number", most=18)
SHORT = Argument("", "0-9", called="number", most=6)
"""A number of seconds or their hundredths: nothing is to be held, or waited for, for years."""

PIDS = Argument("", "0-9 ", called="pids", least=0, most=4000)
MODE = Argument("", "0-7", called="mode", most=4)
OWNER = Argument("", "0-9:", called="uid:gid", most=24)
PERSON = Argument("", "A-Za-z0-9 ._@:+-", called="who", most=300)
"""Who holds a lease: user, machine, pid. No line ends: the guard keeps it in a line of a file."""

PRELUDE = """\
is() { [ "$1" = "$2" ]; }
like() { # value, what is before, characters between, what is after, how many of them at least and at most, the first
    case $1 in "$2"*"$4") ;; *) return 1 ;; esac
    set -- "${1#"$2"}" "$3" "$4" "$5" "$6" "${7:-$3}"
    set -- "${1%"$3"}" "$2" "$4" "$5" "$6"
    # shellcheck disable=SC2254 # they are meant to be sets
    case $1 in *[!$2]* | [!$5]*) return 1 ;; esac
    [ "${#1}" -ge "$3" ] && [ "${#1}" -le "$4" ]
}
"""
