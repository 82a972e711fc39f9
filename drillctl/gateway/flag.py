"""The flag of an `nginx-flag` gateway: absent, or present with bytes, mode and owner; and its programs on a host.

The flag's presence alone decides: nginx looks for it at every request. Its content says who put it there, so that
nobody removes what somebody else has set.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from drillctl.errors import GatewayError
from drillctl.gateway import kept_file

MOST_BYTES = 1024
"""Larger than any flag; a larger file is something else."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag that is there: its bytes, permission bits, and uid:gid."""

    content: bytes = field(repr=False)
    mode: int = 0o644
    owner: str = "0:0"

    @property
    def sha256(self) -> str:
        """Return the hash of its bytes, in hex."""
        return hashlib.sha256(self.content).hexdigest()


ABSENT = "flag absent"


def in_words(flag: Flag | None) -> str:
    """Return a flag, or its absence, as one line that `from_words` reads back."""
    return ABSENT if flag is None else f"flag {flag.mode:o} {flag.owner} {flag.content.hex() or '-'}"


def from_words(words: str) -> Flag | None:
    """Return the flag that a line describes. Raises GatewayError when it describes none."""
    if words == ABSENT:
        return None
    try:
        _, mode, owner, content = words.split(" ")
        return Flag(b"" if content == "-" else bytes.fromhex(content), int(mode, 8), owner)
    except ValueError:
        raise GatewayError(f"`{words[:80]}` describes no flag") from None


LINE = "the standby serves: drillctl, run "
"""What a run writes into its flag, but for its id and the line's end."""


def content_of(run_id: str) -> bytes:
    """Return what a run writes into its flag."""
    return f"{LINE}{run_id}\n".encode()


def not_put_back(flag: Flag) -> str | None:
    """Return why installed programs would not put a flag back; None when they would."""
    if flag.content and not re.fullmatch(re.escape(LINE.encode()) + rb"[0-9][A-Za-z0-9._-]{0,127}\n", flag.content):
        return "is not empty, and holds no line of a run"
    return kept_file.not_put_back(f"{flag.mode:o}", flag.owner)


_PRELUDE = r"""
set -u
export LC_ALL=C
umask 022
refuse() { printf '%s\n' "$*" >&2; exit 3; }
sum() { [ -e "$1" ] || return 0; s=$(sha256sum < "$1") && printf '%s' "${s%% *}"; }
harden() { sync -- "$1" 2>/dev/null || sync; }
"""

LOOK = (
    _PRELUDE
    + r"""
[ -e "$1" ] || { [ ! -L "$1" ] || refuse "$1 is a link that leads nowhere"; echo absent; exit 0; }
[ -f "$1" ] || refuse "$1 is no file"
[ "$(stat -L -c %s -- "$1")" -le "$2" ] || refuse "$1 is too large to be a flag"
stat -L -c '%a %u:%g' -- "$1"
od -An -v -tx1 -- "$1" | tr -d ' \n'
"""
)
"""flag, most bytes → `absent`, or a line `mode uid:gid` and the bytes in hex."""

STAGE = (
    _PRELUDE
    + r"""
candidate=$2 pidfile=$3 folder=${1%/*}
[ -d "$folder" ] || mkdir -p -- "$folder" || refuse "$folder could not be made"
# The workers look for the flag as their own user: a folder that is closed to them hides it, and nothing would tell.
master=$(cat -- "$pidfile" 2>/dev/null)
case $master in '' | *[!0-9]*) refuse "no nginx master runs by the pid file $pidfile" ;; esac
# shellcheck disable=SC2013
for status in $(grep -s -l -x "PPid:[[:space:]]*$master" /proc/[0-9]*/status); do
    user=$(stat -c %u -- "${status%/status}" 2>/dev/null) || continue
    [ "$user" != 0 ] || continue
    place=$folder
    while [ -n "$place" ]; do
        rights=$(stat -L -c '%a' -- "$place") owner=$(stat -L -c %u -- "$place")
        bits=$((0$rights)) needed=1
        [ "$owner" != "$user" ] || needed=$((0100))
        [ $((bits & needed)) -ne 0 ] || refuse "nginx's workers (user $user) cannot look into $place"
        place=${place%/*}
    done
done
if ! { cat > "$candidate" && chmod 644 -- "$candidate"; }; then refuse "$candidate could not be written"; fi
harden "$candidate"
"""
)
"""flag, candidate, pidfile of nginx; the candidate's bytes on stdin."""

RAISE = (
    _PRELUDE
    + r"""
trap '' HUP PIPE
flag=$1 candidate=$2
IFS= read -r line < "$candidate" || refuse "$candidate is not there any more"
[ "$line" = "$3" ] || refuse "$candidate is not what was staged"
read -r begun _ < /proc/uptime
# A link, because it fails where a rename would replace what somebody else has set meanwhile.
said=$(ln -- "$candidate" "$flag" 2>&1) || refuse "$flag could not be set: $said"
read -r up _ < /proc/uptime
echo "$begun $up"
rm -f -- "$candidate"
harden "${flag%/*}"
exit 0
"""
)
"""flag, candidate, its line → the uptime before and after, which the kernel tells to 10 ms."""

LOWER = (
    _PRELUDE
    + r"""
trap '' HUP PIPE
flag=$1 candidate=$2
[ -f "$candidate" ] || refuse "$candidate is not there any more"
[ "$(sum "$flag")" = "$3" ] || refuse "someone changed $flag after it was read"
read -r begun _ < /proc/uptime
said=$(mv -f -- "$flag" "$candidate" 2>&1) || refuse "$flag could not be removed: $said"
read -r up _ < /proc/uptime
echo "$begun $up"
rm -f -- "$candidate"
harden "${flag%/*}"
exit 0
"""
)
"""flag, candidate, sha256 of the flag as it was read → the uptime before and after, which the kernel tells to 10 ms."""

PUT = (
    _PRELUDE
    + r"""
trap '' HUP PIPE
flag=$1 new=$2 wanted=$3 mode=$4 owner=$5 allowed=$6
found=$(sum "$flag")
if [ "$found" != "$wanted" ]; then
    case " $allowed " in *" ${found:-absent} "*) ;; *) refuse "someone else changed $flag during the drill" ;; esac
    read -r begun _ < /proc/uptime
    if [ -z "$wanted" ]; then
        rm -f -- "$flag" || refuse "$flag could not be removed"
    else
        if ! { cat > "$new" && chown -- "$owner" "$new" && chmod -- "$mode" "$new"; }; then
            refuse "$new could not be written"
        fi
        harden "$new"
        mv -f -- "$new" "$flag" || refuse "$flag could not be put back"
    fi
    read -r up _ < /proc/uptime
echo "$begun $up"
    harden "${flag%/*}"
else
    echo 0 0
fi
rm -f -- "$new"
"""
)
"""flag, a name beside it, sha256, mode and owner wanted (empty: absent), sha256 sums that may be replaced, or `absent`;
the bytes on stdin → the uptime before and after, or zeros."""

DISCARD = r"""case $1 in */.drillctl-*) rm -f -- "$1" ;; esac"""
"""candidate."""
