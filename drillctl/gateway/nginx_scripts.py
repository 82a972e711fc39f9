"""The POSIX sh programs that run on a gateway host. Constant text: values only ever come as arguments.

They print sections, `== NAME` on a line of its own before each, which `nginx_host.py` reads. Exit code 3 means
refused, with nothing changed, and the reason in the section `refused`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_PRELUDE = r"""
set -u
export LC_ALL=C
section() { printf '\n== %s\n' "$1"; }
refuse() { section refused; printf '%s\n' "$*"; exit 3; }
sum() { s=$(sha256sum < "$1" 2>/dev/null) && printf '%s' "${s%% *}"; }
rights() { stat -c '%a %u:%g' -- "$1"; }
harden() { sync -- "$1" 2>/dev/null || sync; }
position() { if [ -f "$1" ]; then stat -L -c '%i %s' -- "$1"; else echo '0 0'; fi; }

# Sets $master to the pid of the running master, or to 0.
find_master() {
    master=$(cat -- "$1" 2>/dev/null)
    case $master in '' | *[!0-9]*) master=0 ;; esac
    grep -q -a '^nginx: master' "/proc/$master/cmdline" 2>/dev/null || master=0
}
need_master() {
    find_master "$1"
    [ "$master" != 0 ] || refuse "no nginx master runs by the pid file $1"
}

# The master and its children, as /proc shows them. These paths hold no blanks, the lists are meant to be split.
# shellcheck disable=SC2013,SC2086
look() {
    [ "$master" != 0 ] || return 0
    stats="" titles=""
    for status in $(grep -s -l -x "PPid:[[:space:]]*$master" /proc/[0-9]*/status); do
        stats="$stats ${status%status}stat" titles="$titles ${status%status}cmdline"
    done
    cat "/proc/$master/stat" $stats 2>/dev/null
    [ -z "$titles" ] || grep -s -a -H '' $titles
    return 0
}

# The [emerg] lines written since a position: log, inode, size. Another inode: the log was rotated, all of it is new.
fresh() {
    [ -f "$1" ] || return 0
    now=$(position "$1")
    from=1
    if [ "${now% *}" = "$2" ] && [ "${now#* }" -ge "$3" ]; then from=$(($3 + 1)); fi
    tail -c "+$from" -- "$1" | grep -a -F '[emerg]' | tail -n 20
    return 0
}

# Wait, in the rare case, until nginx has given up an earlier reload: it tries five times, half a second apart, to bind
# a busy port. A reload now would only wait behind that, and its proof would meet the other one's [emerg] lines.
settle() {
    tries=0
    while [ -f "$1" ] && [ "$tries" -lt 6 ]; do
        case $(tail -n 200 -- "$1" | grep -a -F '[emerg]' | tail -n 1) in *' bind() to '*) ;; *) return 0 ;; esac
        was=$(position "$1")
        sleep 0.7
        [ -n "$(fresh "$1" "${was% *}" "${was#* }")" ] || return 0
        tries=$((tries + 1))
    done
}

# Reload, and show the workers on both sides of it: reload command, error log and its position, uptime at the rename.
tell() {
    section before
    look
    section reload
    eval "$1" < /dev/null 2>&1
    code=$?
    read -r up _ < /proc/uptime
    section after
    look
    section emergencies
    fresh "$2" "${3% *}" "${3#* }"
    section end
    echo "$code ${4:-$up} $up"
}
"""

READ = (
    _PRELUDE
    + r"""
live=$(readlink -f -- "$1")
[ -f "$live" ] || refuse "$1 is not a file"
[ -r "$live" ] || refuse "$1 cannot be read by $(id -un)"
printf '%s\n' "$live"
rights "$live"
exec cat -- "$live"
"""
)
"""path → a line with the resolved path, a line `mode uid:gid`, then the bytes."""

RESOLVE = r"""for path; do readlink -f -- "$path" || echo; done"""
"""paths → the file behind the links of each, a line each."""

PREPARE = (
    _PRELUDE
    + r"""
live=$1 folder=$2
need_master "$3"
while read -r _ _ _ _ point _; do
    [ "$(printf '%b' "$point")" != "$live" ] || refuse "$live is a mount of its own, and such a file cannot be replaced"
done << END
$(cat /proc/self/mountinfo)
END
rm -rf -- "$folder"
mkdir -m 700 -- "$folder" 2>/dev/null || refuse "$(id -un) cannot write into ${folder%/*}"
"""
)
"""live file, staging folder, pidfile → the folder, new and empty; refuses what could not be switched later."""

WRITE = r"""
set -eu
cp --preserve=all -- "$2" "$1" 2>/dev/null || cp -p -- "$2" "$1"
cat > "$1"
sync -- "$1" 2>/dev/null || sync
"""
"""path, file whose mode and owner it takes; the bytes on stdin."""

IN_PLACE_STEPS = 'mount -o bind "$1" "$2" && shift 2 && exec "$@"'
IN_PLACE = f"exec unshare -m sh -c '{IN_PLACE_STEPS}' sh \"$@\"\n"
"""candidate, live, test command: runs it where the candidate is seen in the live file's place, by nobody else.

That place is a mount namespace of its own (unshare(1)), which ends with the command. It needs root.
"""


def in_place(candidate: str, live: str, test: Sequence[str]) -> list[str]:
    """Return the command that tests a candidate where nginx sees it in the live file's place."""
    return ["unshare", "-m", "sh", "-c", IN_PLACE_STEPS, "sh", candidate, live, *test]


ACTIVATE = (
    _PRELUDE
    + r"""
# Once the file is renamed the reload must follow, also when nobody listens any more.
trap '' HUP PIPE
live=$1 candidate=$2 folder=$3 root=$4 pidfile=$7 log=$8 test=$9
shift 4
reload=$6
need_master "$pidfile"
said=$(eval "$test" < /dev/null 2>&1) || refuse "the candidate does not pass the test any more: $said"
[ "$(sum "$candidate")" = "$2" ] || refuse "$candidate is not what was staged"
[ "$(sum "$live")" = "$1" ] || refuse "someone changed $live after it was read"
[ "$(rights "$live")" = "$(rights "$candidate")" ] || refuse "someone changed mode or owner of $live after it was read"
place=$(position "$log")
section log
echo "$place"
read -r begun _ < /proc/uptime
said=$(mv -T -f -- "$candidate" "$live" 2>&1) || refuse "$live could not be replaced: $said"
tell "$reload" "$log" "$place" "$begun"
rm -rf -- "$folder" "$root"
harden "${live%/*}/"
exit 0
"""
)
"""live, candidate, folder, test root, sha256 of live and candidate, pidfile, error log, test and reload commands."""

FACTS = (
    _PRELUDE
    + r"""
live=$(readlink -f -- "$1")
section file
if [ -f "$live" ]; then
    printf '%s\n' "$(sum "$live")"
    rights "$live"
    stat -c '%.9Z' -- "$live"
fi
section clock
date +%s.%N
cat /proc/uptime
section log
position "$3"
find_master "$2"
section workers
look
"""
)
"""live, pidfile, error log → what is in place and who serves."""

PUT = (
    _PRELUDE
    + r"""
trap '' HUP PIPE
live=$1 folder=$2 mode=$3 owner=$4 wanted=$5 expected=$6 pidfile=$7 log=$8 reload=$9
[ -d "$folder" ] || mkdir -m 700 -- "$folder" 2>/dev/null || refuse "$(id -un) cannot write into ${folder%/*}"
new=$folder/original
cp --preserve=all -- "$live" "$new" 2>/dev/null || cp -p -- "$live" "$new" 2>/dev/null
cat > "$new"
if ! chown -- "$owner" "$new" || ! chmod -- "$mode" "$new"; then refuse "mode $mode and owner $owner cannot be set"; fi
[ "$(sum "$new")" = "$wanted" ] || refuse "the original bytes did not arrive whole"
harden "$new"
[ "$(sum "$live")" = "$expected" ] || refuse "someone changed $live just now"
find_master "$pidfile"
settle "$log"
place=$(position "$log")
section log
echo "$place"
read -r begun _ < /proc/uptime
said=$(mv -T -f -- "$new" "$live" 2>&1) || refuse "$live could not be replaced: $said"
tell "$reload" "$log" "$place" "$begun"
rm -rf -- "$folder"
harden "${live%/*}/"
exit 0
"""
)
"""live, folder, mode, owner, sha256 wanted, sha256 now, pidfile, error log, reload command line; the bytes on stdin."""

RELOAD = (
    _PRELUDE
    + r"""
trap '' HUP PIPE
find_master "$1"
settle "$2"
place=$(position "$2")
section log
echo "$place"
tell "$3" "$2" "$place" ''
exit 0
"""
)
"""pidfile, error log, reload command line."""

WAIT = (
    _PRELUDE
    + r"""
log=$2 inode=$3 size=$4 before=" $5 " limit=$6
read -r up _ < /proc/uptime
end=$((${up%.*}${up#*.} + limit))
while :; do
    find_master "$1"
    new=no old=no
    # shellcheck disable=SC2013
    for status in $(grep -s -l -x "PPid:[[:space:]]*$master" /proc/[0-9]*/status); do
        pid=${status#/proc/} pid=${pid%/status}
        case $(tr '\0' ' ' < "/proc/$pid/cmdline" 2>/dev/null) in
            'nginx: worker process is shutting down'*) ;;
            'nginx: worker process'*) case $before in *" $pid "*) old=yes ;; *) new=yes ;; esac ;;
        esac
    done
    [ "$new$old" != yesno ] || break
    [ -z "$(fresh "$log" "$inode" "$size")" ] || break
    read -r up _ < /proc/uptime
    [ "${up%.*}${up#*.}" -lt "$end" ] || break
    sleep 0.02
done
section workers
look
section emergencies
fresh "$log" "$inode" "$size"
"""
)
"""pidfile, error log, its inode and size, pids of the old workers, hundredths of a second: waits, then shows."""

DISCARD = r"""
case $1 in */.drillctl-*) rm -rf -- "$1" ;; esac
case $2 in */.drillctl-*) rm -f -- "$2" ;; esac
"""
"""staging folder, test root."""

LOG_POSITION = _PRELUDE + 'position "$1"\n'
"""log → its inode and size."""

LOG_SINCE = (
    _PRELUDE
    + r"""
[ -f "$1" ] || refuse "$1 is not there"
now=$(position "$1")
if [ "${now% *}" = "$2" ] && [ "${now#* }" -ge "$3" ]; then
    tail -c "+$(($3 + 1))" -- "$1" | head -c "$4"
    exit 0
fi
# Rotated meanwhile: what the old file still gained, then all of the new one.
if [ "$(stat -L -c %i -- "$1.1" 2>/dev/null)" = "$2" ]; then tail -c "+$(($3 + 1))" -- "$1.1" | head -c "$4"; fi
head -c "$4" -- "$1"
"""
)
"""log, inode and size of the mark, bytes at most → what was written since."""
