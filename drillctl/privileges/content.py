"""Which bytes may be written into a gateway's config by a user who is not root: a check in POSIX sh and awk.

Whoever may write an nginx config as root can have any file written and any code loaded as root. So the installed
programs take bytes only if they differ from the live file in lines that name a server of the zones, and there in
nothing but whether it is on: commented out, or `down`. One of them must be on.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

TAKE = """
# Read stdin to its end, or to so many bytes, and go on with it as stdin; what a test says of the file is returned.
take() { # bytes at most, the test and its first words
    taken=$(mktemp /run/drillctl.XXXXXX) || exit 126
    head -c "$1" >"$taken"
    exec <"$taken"
    shift
    "$@" "$taken"
    set -- "$?"
    rm -f -- "$taken"
    return "$1"
}
"""
"""A function of shell that judges what comes by stdin, which nobody can change any more once it was judged."""

_SERVERS_ONLY = r"""
# Tell whether a config differs from the live one in nothing but servers of the zones being on or off: commented out, or
# `down`. Where it differs one must be on: else nginx would serve nobody, or not take the config at all.
servers_only() { # live file, the other
    awk -v known=@KNOWN@ '
        # A line without what says whether it is on; nothing when it is no line of one server of the zones.
        function plain(line,    at, rest, count, word, text, i) {
            sub(/\r$/, "", line); gsub(/[ \t]+/, " ", line); sub(/^ /, "", line)
            while (sub(/^# ?/, "", line)) { }
            at = index(line, ";"); rest = substr(line, at + 1)
            if (!at || rest !~ /^ ?(#.*)?$/) return ""
            count = split(substr(line, 1, at - 1), word, " ")
            if (count < 2 || word[1] != "server" || !index(known, " " tolower(word[2]) " ")) return ""
            text = "server " word[2]
            for (i = 3; i <= count; i++) {
                if (word[i] !~ /^[a-z_]+(=[0-9A-Za-z.]+)?$/) return ""
                if (word[i] != "down") text = text " " word[i]
            }
            return text ";" rest
        }
        function is_on(line) {
            return plain(line) != "" && line !~ /^[ \t]*#/ && substr(line, 1, index(line, ";")) !~ /[ \t]down[ \t;]/
        }
        FNR == NR { line[FNR] = $0; lines = FNR; next }
        { last = FNR }
        # As texts: awk takes lines that look like numbers for numbers, and 10 is 10.0 then.
        ($0 "") != (line[FNR] "") {
            if (FNR > lines || plain($0) == "" || plain($0) != plain(line[FNR])) exit(wrong = 1)
            differs = 1
        }
        is_on($0) { on = 1 }
        END { exit(wrong || lines != last || (differs && !on)) }
    ' "$1" "$2"
}
# Read stdin to its end, and go on with what it was as stdin if it is the live config but for servers being on or off.
take_config() { # live file
    # /run is memory: what is longer is cut off, and so not taken.
    take 8388608 config_like "$1" ||
        deny "these bytes change more of the config than which servers of the zones are on (at least one)," \
            "each on a line of its own"
}
config_like() { # live file, what was read
    # What awk does not see of a line behind a NUL must not be there.
    # shellcheck disable=SC2094 # both only read
    tr -d '\000' <"$2" | cmp -s - "$2" && servers_only "$1" "$2"
}
same_rights() { # file, mode, owner
    [ "$(stat -c '%a %u:%g' -- "$1" 2>/dev/null)" = "$2 $3" ] || deny "mode and owner of $1 are not $2 $3"
}
"""


def functions(addresses: Iterable[str]) -> str:
    """Return the shell functions that judge a config, for the zones' servers as the gateway's config names them."""
    known = {spelling for address in addresses for spelling in _spellings(address.lower())}
    return TAKE + _SERVERS_ONLY.replace("@KNOWN@", shlex.quote(f" {' '.join(sorted(known))} "))


def _spellings(address: str) -> tuple[str, ...]:
    """Return how an address may be written: nginx takes port 80 when none is."""
    return (address, address.removesuffix(":80"))
