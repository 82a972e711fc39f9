"""The POSIX sh programs that run on an HAProxy host. Constant text: values only ever come as arguments.

Exit code 3 means refused, with nothing changed, and the reason on stderr. HAProxy comes with no client for its own
socket; `ask` takes the first program that can: socat, perl, python3, or an nc that knows -U (for address:port any nc).
"""

from drillctl.hosts import folder

ASK = r"""
refuse() { printf '%s\n' "$*" >&2; exit 3; }
# socket (a path, or address:port), command line → what HAProxy says.
ask() {
    case $1 in
    /*)
        [ -S "$1" ] || refuse "$1 is no socket: does HAProxy run, and has it this \`stats socket\`?"
        [ -w "$1" ] || refuse "$1 is not open to $(id -un)"
        if command -v socat >/dev/null; then
            printf '%s\n' "$2" | socat -t 5 - "UNIX-CONNECT:$1"
        elif command -v perl >/dev/null; then
            perl -MSocket -e 'alarm 5; ($a, $c) = @ARGV; socket(S, PF_UNIX, SOCK_STREAM, 0) or die "$!\n";
                connect(S, pack_sockaddr_un($a)) or die "$!\n"; syswrite S, "$c\n"; print while <S>' "$1" "$2"
        elif command -v python3 >/dev/null; then
            python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1]); s.sendall(sys.argv[2].encode() + b"\n")
while (b := s.recv(65536)): sys.stdout.buffer.write(b)' "$1" "$2"
        elif nc -h 2>&1 | grep -q -e '-[A-Za-z]*U'; then
            printf '%s\n' "$2" | nc -w 5 -U "$1"
        else
            refuse "nothing here can speak to $1: install socat (or perl, python3, netcat-openbsd)"
        fi ;;
    *)
        if command -v socat >/dev/null; then
            printf '%s\n' "$2" | socat -t 5 - "TCP:$1"
        elif command -v perl >/dev/null; then
            perl -MIO::Socket::INET -e 'alarm 5; $s = IO::Socket::INET->new($ARGV[0]) or die "$@\n";
                syswrite $s, "$ARGV[1]\n"; print while <$s>' "$1" "$2"
        elif command -v nc >/dev/null; then
            printf '%s\n' "$2" | nc -w 5 "${1%:*}" "${1##*:}"
        else
            refuse "nothing here can speak to $1: install socat (or perl, netcat)"
        fi ;;
    esac
}
"""

_PRELUDE = (
    r"""
set -u
export LC_ALL=C
"""
    + ASK
    + folder.OPEN_ABOVE
    + r"""
sum() { [ -e "$1" ] || return 0; s=$(sha256sum < "$1") && printf '%s' "${s%% *}"; }
harden() { sync -- "$1" 2>/dev/null || sync; }
# Socket, backend → NAME=ready, drain or maint, of each server, with blanks between: bits as in haproxy_state.py.
states_of() {
    ask "$1" "show servers state $2" | {
        blank=''
        while read -r _ in _ name _ _ bits _; do
            [ "$in" = "$2" ] || continue
            set=ready
            [ $((bits & 24)) = 0 ] || set=drain
            [ $((bits & 35)) = 0 ] || set=maint
            printf '%s%s=%s' "$blank" "$name" "$set"
            blank=' '
        done
    }
}
# Where somebody could put another folder in the place of the state file's, root would make the file anywhere.
closed() { # folder
    open=$(open_above "$1")
    [ -z "$open" ] || refuse "others than root may write $open, and so put another folder in the place of $1"
}
# Go to the state file's folder. It may be HAProxy's own, and its worker could put links there for root to follow.
enter() { # state file
    closed "${1%/*}"
    cd -P -- "${1%/*}/" || refuse "${1%/*} cannot be entered by $(id -un)"
    closed "$(pwd -P)"
}
# Open the file that is to take its place as fd 3. One that is there already, or a link, is not written into; and rights
# are given to what was opened, whatever has that name by then.
begin() { rm -f -- ./.drillctl-states.new && set -C && exec 3> ./.drillctl-states.new; }
finish() { harden /proc/self/fd/3 && mv -T -f -- ./.drillctl-states.new "./${1##*/}"; } # state file
# socket, state file: write the states of all servers down, as HAProxy takes them over at its next reload.
keep_states() (
    enter "$2"
    begin && (ask "$1" 'show servers state') >&3 && [ -s /proc/self/fd/3 ] && finish "$2" && exit
    rm -f -- ./.drillctl-states.new
    exit 1
)
# state file, mode, owner; the bytes on stdin
put_states() (
    enter "$1"
    begin && cat >&3 && chown -- "$3" /proc/self/fd/3 && chmod -- "$2" /proc/self/fd/3 && finish "$1" && exit
    rm -f -- ./.drillctl-states.new
    exit 1
)
"""
)

READ = (
    _PRELUDE
    + r"""
live=$(readlink -f -- "$1")
[ -f "$live" ] || refuse "$1 is not a file"
printf '%s\n' "$live"
stat -c '%a %u:%g' -- "$live"
sum "$live"
"""
)
"""path → a line with the resolved path, a line `mode uid:gid`, then the sha256: the bytes may hold passwords."""

STATE_LINES = (
    _PRELUDE
    + r"""
grep -E '^[[:space:]]*(server-state-(file|base)|load-server-state-from-file)[[:space:]]' -- "$1" || [ $? = 1 ] ||
    refuse "$1 cannot be read by $(id -un)"
"""
)
"""config → its lines that say whether a reload takes the states over: no others, the file may hold passwords."""

STATES = _PRELUDE + 'ask "$1" "show servers state $2"\n'
"""socket, backend → what HAProxy says of its servers."""

STAT = _PRELUDE + 'ask "$1" "show stat"\n'
"""socket → statistics as CSV."""

FILE = (
    _PRELUDE
    + r"""
# What a link leads to may be for root alone, and a rename would not bring the link back.
[ ! -L "$1" ] || refuse "$1 is a link: let gateway.state_file, and HAProxy's config, name a file"
[ -e "$1" ] || { echo absent; exit 0; }
[ "$(stat -c %s -- "$1")" -le "$2" ] || refuse "$1 is too large to be a state file"
stat -c '%a %u:%g' -- "$1"
exec cat -- "$1"
"""
)
"""state file, most bytes → `absent`, or a line `mode uid:gid` and the bytes."""

PREPARE = (
    _PRELUDE
    + r"""
folder=${1%/*}
closed "$folder"
[ -d "$folder" ] || mkdir -p -- "$folder" || refuse "$folder could not be made"
enter "$1"
(begin) 2>/dev/null || refuse "$(id -un) cannot write into $folder"
rm -f -- ./.drillctl-states.new
"""
)
"""state file → nothing; refuses what could not be written later."""

SWITCH = (
    _PRELUDE
    + r"""
trap '' HUP PIPE
found=$(states_of "$1" "$2")
[ -n "$found" ] || refuse "HAProxy does not list the servers of $2 at $1 any more"
[ "$found" = "$3" ] || refuse "someone changed the servers' states after they were read"
read -r begun _ < /proc/uptime
ask "$1" "$4" || exit
read -r up _ < /proc/uptime
echo "== $begun $up"
# Behind the switch: a reload from now on, and it goes on where it is.
keep_states "$1" "$5" || { echo "the states could not be written to $5" >&2; exit 4; }
harden "${5%/*}"
"""
)
"""socket, backend, its states as read, commands, state file → what HAProxy said, then `== BEFORE AFTER`: the uptime."""

PUT = (
    _PRELUDE
    + r"""
trap '' HUP PIPE
file=$3 wanted=$4 mode=$5 owner=$6
read -r begun _ < /proc/uptime
[ -z "$2" ] || ask "$1" "$2" || exit
read -r up _ < /proc/uptime
echo "== $begun $up"
if [ -z "$wanted" ]; then
    { [ ! -e "$file" ] && [ ! -L "$file" ]; } || (enter "$file" && rm -f -- "./${file##*/}") ||
        { echo "$file could not be removed" >&2; exit 4; }
elif [ "$(sum "$file")" != "$wanted" ]; then
    put_states "$file" "$mode" "$owner" || { echo "$file could not be put back" >&2; exit 4; }
fi
harden "${file%/*}"
"""
)
"""socket, commands (empty: none), state file, its sha256, mode and owner (empty: absent); its bytes on stdin."""
