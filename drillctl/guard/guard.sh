#!/bin/sh
# drillctl's guard: holds the lease on this host, and undoes a drill's changes here if drillctl vanishes.
#
#   sh guard.sh FOLDER COMMAND [ARGUMENT...]
#
#   acquire RUN OWNER TTL    take the lease for a run; how to start a process service comes by stdin
#   register EPOCH ID KIND [ARGUMENT...]    write down an undo, and the bytes on stdin that it needs
#   strike EPOCH ID          an undo was carried out, or is not wanted any more
#   renew EPOCH              drillctl lives: the lease lasts TTL seconds from now
#   undo EPOCH               carry out what is outstanding, last first
#   release EPOCH            give the lease back; nothing of the guard stays but the number of the epoch
#   break RUN [forget]       end the lease of exactly that run: undo now; `forget` drops what is outstanding
#   show                     what is held
#   tick                     undo if the lease has run out; called by watch and by a timer
#   watch EPOCH, boot        tick every second until there is nothing to do; boot: after a reboot
#
# Exit codes: 0 done, 2 wrong words, 74 the disk did not take it, 75 somebody else has the lease, 76 the lease is not
# yours any more, 77 undos are outstanding. Every state file is replaced as a whole by a rename; all but the clock are
# synced first. The clock needs no sync: after a crash it is from another boot, or empty, and both count as run out.
# shellcheck disable=SC2030,SC2031 # D is another folder in one subshell only, on purpose
set -u
umask 077
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY all_proxy

PATIENCE=300 # seconds for which an undo that does not succeed is tried again
D=${1:?usage: guard.sh FOLDER COMMAND}
UNIT=drillctl-guard-${D##*/}
BOOT=/etc/systemd/system/$UNIT-boot.service
WANTS=/etc/systemd/system/multi-user.target.wants
memory=

fail() { printf '%s\n' "$2" >&2; exit "$1"; }
harden() { sync -- "$@" 2>/dev/null || sync; }
sum() { s=$(sha256sum <"$1" 2>/dev/null) && printf '%s' "${s%% *}"; }
# The start time of a process in clock ticks since boot tells it from a later one with the same pid.
born() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
# A zombie is no running process.
runs() { [ -n "${2:-}" ] && [ "$(born "$1")" = "$2" ] && ! grep -q '^State:[[:space:]]*[ZX]' "/proc/$1/status"; }
# Replace a state file by stdin. Callers in a pipeline add `|| exit`.
put() {
    if cat >"$D/.new" && harden "$D/.new" && mv -f "$D/.new" "$D/$1"; then harden "$D/$1" "$D" && return; fi
    rm -f "$D/.new"
    fail 74 "$D/$1 could not be written"
}
# To the log, for `show`, and to syslog, which stays when the log goes. Saying the same again says nothing.
say() {
    ! grep -q -s -F -e " $*" "$D/log" || return 0
    printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" 2>/dev/null >>"$D/log"
    logger -t "$UNIT" -- "$*" 2>/dev/null
    return 0
}

# --- one command at a time ----------------------------------------------------------------------------------------

# With `-n`: fail instead of waiting. The kernel drops a lock of flock(1) with its process. Without that program the
# lock is a link that names its holder, so that a dead one can be told. Who takes a dead one's lock away must first
# make a folder named after the dead; otherwise two could, and the slower one would take the lock of the faster.
lock() {
    if command -v flock >/dev/null; then
        exec 9<"$D" && flock ${1:+"$1"} 9
        return
    fi
    until ln -s "$$ $(born $$) $boot" "$D/lock" 2>/dev/null; do
        # shellcheck disable=SC2046 # three words
        set -- "${1:-}" $(readlink "$D/lock")
        if [ "${4:-}" = "$boot" ] && runs "$2" "$3"; then
            [ -z "$1" ] && sleep 1 && continue
            return 1
        fi
        mkdir "$D/dead-${2:-}-${3:-}" 2>/dev/null || continue
        [ "$(readlink "$D/lock")" != "${2:-} ${3:-} ${4:-}" ] || rm -f "$D/lock"
        rmdir "$D/dead-${2:-}-${3:-}"
    done
    trap 'rm -f "$D/lock"' EXIT
}

# --- the lease ----------------------------------------------------------------------------------------------------

# Time is /proc/uptime and the boot-id: setting the clock changes nothing, and a reboot counts as run out.
read -r boot </proc/sys/kernel/random/boot_id
now() { read -r up _ </proc/uptime && up=${up%.*}; }
load() {
    run='' owner='' since='' ttl=0 epoch=0 wound='' clock_boot='' deadline=0 state=free
    now
    [ ! -f "$D/epoch" ] || read -r epoch <"$D/epoch"
    [ -f "$D/lease" ] || return 0
    while read -r key value; do
        case $key in run) run=$value ;; owner) owner=$value ;; since) since=$value ;; ttl) ttl=$value ;; esac
    done <"$D/lease"
    [ ! -f "$D/clock" ] || read -r wound clock_boot deadline <"$D/clock"
    state=held
    [ "$clock_boot" = "$boot" ] && [ "$up" -le "$deadline" ] || state=expired
    [ ! -e "$D/undoing" ] || state=undoing
    [ ! -e "$D/stuck" ] || state=stuck
}
wind() {
    now
    if echo "$epoch $boot $((up + ttl))" 2>/dev/null >"$D/.clock"; then mv -f "$D/.clock" "$D/clock" && return; fi
    rm -f "$D/.clock"
    # What takes something back goes on where the disk is full: it needs no more time.
    case $command in strike | undo | release) return 0 ;; esac
    fail 74 "$D/clock could not be written"
}
outstanding() { [ -n "$(ls "$D/undos" 2>/dev/null)" ]; }
# Once undoing has begun, whoever held the lease must not go on: what it relies on is being taken back.
mine() {
    load
    [ "$state" != free ] || fail 76 "there is no lease any more"
    [ "$1" = "$epoch" ] || fail 76 "epoch $1 is stale: epoch $epoch holds the lease, for $run"
    [ ! -e "$D/undoing" ] || fail 76 "the lease ran out, and the guard undoes what $run did"
    wind
}
show() {
    load
    printf '%s\n' "state $state" "epoch $epoch"
    [ "$state" != free ] || return 0
    left=$((deadline - up))
    [ "$state" = held ] || left=0
    printf '%s\n' "run $run" "owner $owner" "since $since" "ttl $ttl" "remaining $left"
    for file in "$D"/undos/*; do
        [ -f "$file" ] || continue
        file=${file##*/}
        echo "undo ${file#*-}"
        sed -e '1s/^/kind /' -e '2,$s/^/argument /' "$D/undos/$file"
    done
    [ ! -f "$D/log" ] || tail -n 20 "$D/log" | sed 's/^/log /'
}

# An inventory that calls this machine by another name has its lease in a folder beside this one. Shows the first such
# lease that another run holds, or left unfinished; one machine may play several hosts of one run.
crowded() { # run
    for other in "${D%/*}"/*/lease; do
        [ -f "$other" ] && [ "$other" != "$D/lease" ] || continue
        (
            D=${other%/lease}
            load
            [ "$state" != free ] && [ "$run" != "$1" ] || exit 1
            [ "$state" = held ] || outstanding || exit 1
            show
            echo "beside $D"
        ) && return
    done
    return 1
}

acquire() { # run, owner, TTL
    # While this waited for the lock, the guard may have finished, and removed itself: a lease would have nobody.
    [ -e "$D/guard.sh" ] || fail 127 "guard.sh is gone"
    load
    # The same run may take its own lease again, with a new epoch: that is how `recover` gets hold of what is left.
    if [ "$state" != free ] && [ "$run" != "$1" ]; then
        if [ "$state" = held ] || outstanding; then show; exit 75; fi
    fi
    memory=$(cat)
    [ "$run" = "$1" ] || rm -rf "$D/lease" "$D/undos" "$D"/kept-* "$D/log"
    rm -f "$D/undoing" "$D/stuck"
    mkdir -p "$D/undos" || fail 74 "$D/undos could not be made"
    epoch=$((epoch + 1)) ttl=$3
    echo "$epoch" | put epoch || exit
    wind
    printf '%s\n' "run $1" "owner $2" "since $(date -u +%Y-%m-%dT%H:%M:%SZ)" "ttl $3" | put lease || exit
    # Only now: of two that come at once, at least one sees the other. What is this run's already, it may put back.
    [ "$run" = "$1" ] || ! crowded "$1" || { finish; exit 75; }
    keep_looking
    echo "epoch $epoch"
}

# Start the watch, and the layers that outlive it.
keep_looking() {
    command -v setsid >/dev/null || setsid() { "$@"; }
    # A pipe, because what is in it is nowhere on disk and in no list of processes.
    printf '%s\n' "$memory" | setsid sh "$D/guard.sh" "$D" watch "$epoch" >/dev/null 2>&1 9<&- &
    layers
}

# Where root has systemd: a timer, which survives a killed watch, and a unit that starts the watch after a boot.
has_layers() { case $D in /var/lib/drillctl/*) [ -d /run/systemd/system ] ;; *) false ;; esac; }
layers() {
    has_layers || return 0
    printf '%s\n' '[Unit]' "Description=drillctl's guard: put back what a drill left on ${D##*/}" 'After=network.target' \
        '[Service]' "ExecStart=/bin/sh $D/guard.sh $D boot" >"$BOOT" || fail 74 "$BOOT could not be written"
    mkdir -p "$WANTS" && ln -sf "$BOOT" "$WANTS/" && harden "$BOOT" "$WANTS"
    systemctl is-active --quiet "$UNIT.timer" || systemd-run --quiet --collect --unit="$UNIT" --on-active=2 \
        --on-unit-active=2 --timer-property=AccuracySec=100ms -- /bin/sh "$D/guard.sh" "$D" tick 9<&- ||
        fail 74 "the timer could not be started"
}
no_timer() { ! has_layers || systemctl --quiet stop "$UNIT.timer" 2>/dev/null 9<&-; }

# The lease goes last: whenever this is cut short, watch or timer do it again.
finish() {
    rm -rf "$D/undos" "$D"/kept-* "$D/log"
    if has_layers && [ -e "$BOOT" ]; then
        rm -f "$BOOT" "$WANTS/${BOOT##*/}"
        systemctl daemon-reload 9<&-
    fi
    no_timer
    rm -f "$D/lease" "$D/clock" "$D/undoing" "$D/stuck" "$D/guard.sh"
}

# --- undoing ------------------------------------------------------------------------------------------------------

# Why an undo failed; what it did not undo stays outstanding.
oops() { say "$kind: $*" && false; }

undo_all() { # id of the only one, or nothing
    open=0 only=${1:-}
    # shellcheck disable=SC2045 # the names are a number and an id, and a glob cannot go backwards
    for name in $(ls -r "$D/undos" 2>/dev/null); do
        [ -z "$only" ] || [ "${name#*-}" = "$only" ] || continue
        set --
        while IFS= read -r line; do set -- "$@" "$line"; done <"$D/undos/$name"
        kind=$1
        case $kind in
        service.revive) if [ "$2" = process ]; then revive_process; else revive_unit "$3" "$4" "${5:-}"; fi ;;
        service.continue) resume "$2" "$3" "$4" ;;
        filter.remove) remove_filter "$2" ;;
        file.put-back) put_back "$2" "$3" ;;
        gateway.discard | file.discard) shift && discard "$@" ;;
        command.run) said=$(sh -c "$2" </dev/null 2>&1 9<&-) || oops "$2: $said" ;;
        gateway.restore) restore "$D/kept-${name#*-}" "$@" ;;
        gateway.haproxy) put_states "$D/kept-${name#*-}" "$@" ;;
        gateway.flag) put_flag "$D/kept-${name#*-}" "$@" ;;
        *) oops "this guard knows no undo of this kind" ;;
        esac || { open=1 && continue; }
        rm -f "$D/undos/$name"
        say "${name#*-}: undone"
    done
    return "$open"
}

# The drop-in keeps systemd from restarting the unit, or makes it fail. With a health URL, what runs may have been
# started with it: it is restarted, unless it was not there any more, or what runs is from before it and answers 200.
revive_unit() { # unit, drop-in, health URL or nothing
    verb=start
    [ ! -e "$2" ] || [ -z "$3" ] || { older "$1" "$2" && answers "$3"; } || verb=restart
    rm -f -- "$2"
    rmdir -- "${2%/*}" 2>/dev/null
    systemctl reset-failed -- "$1" 2>/dev/null 9<&-
    { systemctl daemon-reload && systemctl $verb --no-block -- "$1"; } 9<&- || oops "systemctl cannot $verb $1"
}

# Tell whether a unit's main process surely began before a file was written: in an earlier second of the wall clock.
older() { # unit, file
    # As in `Tue 2026-01-06 12:00:00 UTC`; busybox's date understands no more than the middle.
    began=$(TZ=UTC systemctl show --property=ExecMainStartTimestamp --value -- "$1" 9<&- |
        { read -r _ day time zone && [ "$zone" = UTC ] && date -u -d "$day $time" +%s 2>/dev/null; }) &&
        [ "$began" -lt "$(stat -c %Y -- "$2")" ]
}

# Let stopped processes go on. The token is a file; while it is there, something stops them again and again.
resume() { # systemd and unit, or process and pidfile; token or -
    [ ! -e "$3" ] || { rm -f -- "$3" && sleep 1; }
    if [ "$1" = systemd ]; then
        group=$(systemctl show --property=ControlGroup --value -- "$2" 9<&-)
        [ -n "$group" ] || return 0
        # shellcheck disable=SC2046 # one word for each pid
        set -- $(cat "/sys/fs/cgroup$group/cgroup.procs" "/sys/fs/cgroup/systemd$group/cgroup.procs" 2>/dev/null)
    else
        leader='' since=''
        [ ! -f "$2" ] || read -r leader since <"$2"
        [ -n "$since" ] && [ "$(born "$leader")" = "$since" ] || return 0
        set -- "-$leader"
    fi
    [ $# = 0 ] || kill -CONT "$@" || oops "kill -CONT $* failed"
}

remove_filter() { # nftables table
    ! nft list table inet "$1" >/dev/null 2>&1 || nft delete table inet "$1" || oops "nft cannot delete table $1"
}

put_back() { # live file, where it was kept meanwhile
    case $2 in */.drillctl-*) ;; *) oops "$2 is no file of a drill" || return ;; esac
    (
        # From within, and never into a folder: whose model it is could put another folder, or a link, in the place.
        cd -P -- "${2%/*}/" 2>/dev/null || exit 0
        # An altered copy that is still in the making must not be put in place after this.
        rm -f -- "./${2##*/}.copy"
        [ -e "./${2##*/}" ] || exit 0
        [ ! -L "./${1##*/}" ] || rm -f -- "./${1##*/}"
        mv -fT -- "./${2##*/}" "./${1##*/}" && harden .
    ) || oops "$1 could not be put back"
}

# From memory: pidfile, folder, log, how many words, the words of the command; then its environment; a line each.
revive_process() {
    [ -n "$memory" ] || oops "only the watch process knows how to start it" || return
    printf '%s\n' "$memory" | (
        IFS= read -r pidfile && IFS= read -r folder && IFS= read -r log && read -r count || exit 1
        leader='' since=''
        [ ! -f "$pidfile" ] || read -r leader since <"$pidfile"
        ! runs "$leader" "$since" || exit 0
        set --
        while [ "$count" -gt 0 ] && IFS= read -r word; do set -- "$@" "$word" && count=$((count - 1)); done
        while IFS= read -r variable; do export "${variable?}"; done
        cd -- "$folder" && mkdir -p -- "${pidfile%/*}" || exit 1
        # The leader of the new session writes its own pid and start time before it becomes the service.
        # shellcheck disable=SC2016 # expands in the new shell
        setsid sh -c '
            born=$(sed "s/.*) //" /proc/$$/stat | cut -d" " -f20)
            echo "$$ $born" >"$0.new" && mv -f -- "$0.new" "$0" && exec "$@"
        ' "$pidfile" "$@" </dev/null >>"$log" 2>&1 9<&- &
    ) || oops "the process could not be started"
}

discard() { # paths of staged files
    for path; do case $path in */.drillctl-*) rm -rf -- "$path" ;; esac done
}

# The kept original, its kind, then: live file, sha256, mode and owner of the original, the sha256 sums that may be
# replaced, the reload command, health URLs of the original zone: clients are never sent where nobody answers.
restore() {
    kept=$1 live=$3 wanted=$4 mode=$5 owner=$6 allowed=$7 reload=$8
    shift 8
    found=$(sum "$live")
    case " $wanted $allowed " in *" ${found:-$wanted} "*) ;; *)
        oops "someone else changed $live; it was left as it is" || return ;;
    esac
    for url; do
        answers "$url" || oops "$url does not answer 200; the gateway stays as it is" || return
    done
    if [ "$found" != "$wanted" ] || [ "$(stat -c '%a %u:%g' -- "$live")" != "$mode $owner" ]; then
        new=${live%/*}/.drillctl-guard.new
        cp -p -- "$live" "$new" 2>/dev/null
        if ! { cat "$kept" >"$new" && chown -- "$owner" "$new" && chmod -- "$mode" "$new" &&
            [ "$(sum "$new")" = "$wanted" ] && harden "$new" && mv -f -- "$new" "$live"; }; then
            rm -f -- "$new"
            oops "$live could not be written" || return
        fi
        harden "${live%/*}"
    fi
    # Also where the file is right already: whoever put it there may have been stopped before the reload.
    said=$(sh -c "$reload" </dev/null 2>&1 9<&-) || oops "$reload failed: $said"
}

# The kept flag, its kind, then: flag; sha256, mode and owner of what it was (`-`: absent); sha256 of the drill's, or
# `absent`; health URLs of the zone that serves then. What nginx looks for at every request needs no reload.
put_flag() {
    kept=$1 flag=$3 wanted=$4 mode=$5 owner=$6 ours=$7
    shift 7
    found=-
    [ ! -e "$flag" ] || found=$(sum "$flag")
    [ "$found" != "$wanted" ] || return 0
    [ "$found" != - ] || found=absent
    [ "$found" = "$ours" ] || oops "someone else changed $flag; it was left as it is" || return
    for url; do
        answers "$url" || oops "$url does not answer 200; the gateway stays as it is" || return
    done
    if [ "$wanted" = - ]; then
        rm -f -- "$flag" || oops "$flag could not be removed" || return
    else
        new=${flag%/*}/.drillctl-guard.new
        if ! { cat "$kept" >"$new" && chown -- "$owner" "$new" && chmod -- "$mode" "$new" && harden "$new" &&
            mv -f -- "$new" "$flag"; }; then
            rm -f -- "$new"
            oops "$flag could not be written" || return
        fi
    fi
    harden "${flag%/*}"
}

# Socket of HAProxy (a path, or address:port), command line → what it says. It comes with no client of its own.
ask_haproxy() {
    where=UNIX-CONNECT:$1
    case $1 in /*) ;; *) where=TCP:$1 ;; esac
    # shellcheck disable=SC2016 # expands in perl
    if command -v socat >/dev/null; then
        printf '%s\n' "$2" | socat -t 5 - "$where" 9<&-
    elif command -v perl >/dev/null; then
        perl -MSocket -e 'alarm 5; ($a, $c) = @ARGV; ($h, $p) = $a =~ m{^([^/]*):(\d+)$};
            socket(S, $p ? PF_INET : PF_UNIX, SOCK_STREAM, 0) or die "$!\n";
            connect(S, $p ? pack_sockaddr_in($p, inet_aton($h)) : pack_sockaddr_un($a)) or die "$!\n";
            syswrite S, "$c\n"; print while <S>' "$1" "$2" 9<&-
    elif command -v python3 >/dev/null; then
        python3 -c 'import socket, sys
a, c = sys.argv[1:]; h, _, p = a.rpartition(":"); u = a.startswith("/")
s = socket.socket(socket.AF_UNIX if u else socket.AF_INET); s.settimeout(5); s.connect(a if u else (h, int(p)))
s.sendall(c.encode() + b"\n")
while b := s.recv(65536): sys.stdout.buffer.write(b)' "$1" "$2" 9<&-
    else
        case $1 in /*) set -- "$2" -U "$1" ;; *) set -- "$2" "${1%:*}" "${1##*:}" ;; esac
        words=$1 && shift
        printf '%s\n' "$words" | nc -w 5 "$@" 9<&-
    fi
}
# Socket, backend → NAME=ready, drain or maint, of each server, with blanks between: bits as in haproxy_state.py.
states_of() {
    ask_haproxy "$1" "show servers state $2" 2>/dev/null | {
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
# The kept state file, its kind, then: socket; sha256 of the state file (`-`: absent); backend; the servers as they were,
# and as the drill set them; the commands that set them as they were; state file, its mode and owner; health URLs.
put_states() {
    kept=$1 socket=$3 wanted=$4 backend=$5 was=$6 ours=$7 words=$8 file=$9
    shift 9
    mode=$1 owner=$2
    shift 2
    found=$(states_of "$socket" "$backend")
    [ -n "$found" ] || oops "HAProxy does not answer at $socket" || return
    if [ "$found" != "$was" ]; then
        [ "$found" = "$ours" ] || oops "someone else changed the servers of $backend; they were left as they are" || return
        for url; do
            answers "$url" || oops "$url does not answer 200; the gateway stays as it is" || return
        done
        ask_haproxy "$socket" "$words" >/dev/null 2>&1
        [ "$(states_of "$socket" "$backend")" = "$was" ] || oops "HAProxy did not take its servers back: $words" || return
    fi
    if [ "$wanted" = - ]; then
        rm -f -- "$file" || oops "$file could not be removed" || return
    elif [ ! -e "$file" ] || [ "$(sum "$file")" != "$wanted" ]; then
        # HAProxy's worker may own the folder: a link is not followed, and rights are given to what was opened.
        (
            cd -P -- "${file%/*}/" && rm -f -- ./.drillctl-guard.new && set -C && exec 3>./.drillctl-guard.new || exit
            cat "$kept" >&3 && chown -- "$owner" /proc/self/fd/3 && chmod -- "$mode" /proc/self/fd/3 &&
                harden /proc/self/fd/3 && mv -fT -- ./.drillctl-guard.new "./${file##*/}" && exit
            rm -f -- ./.drillctl-guard.new
            exit 1
        ) || oops "$file could not be written" || return
    fi
    harden "${file%/*}"
}

# Tell whether a URL answers with 200, by whichever program is here.
answers() {
    rest=${1#http://} path=/
    host=${rest%%/*} port=80
    case $rest in */*) path=/${rest#*/} ;; esac
    case $host in *:*) port=${host##*:} ;; esac
    # shellcheck disable=SC2016 # expands in perl and bash
    if command -v curl >/dev/null; then
        [ "$(curl -s -o /dev/null -m 2 -w '%{http_code}' -- "$1" 9<&-)" = 200 ]
        return
    elif command -v wget >/dev/null; then
        wget -q -t 1 -T 2 -O /dev/null -- "$1" 2>/dev/null 9<&-
        return
    elif command -v perl >/dev/null; then
        set -- perl -MIO::Socket::INET -e 'alarm 3; $s = IO::Socket::INET->new(PeerAddr => $ARGV[0],
            PeerPort => $ARGV[1]) or exit 1; print $s <STDIN>; $s->flush; print scalar <$s>'
    elif command -v nc >/dev/null; then
        set -- nc -w 2
    else
        set -- timeout 3 bash -c 'exec 3<>"/dev/tcp/$0/$1" && cat >&3 && head -n 1 <&3'
    fi
    printf 'GET %s HTTP/1.0\r\nHost: %s\r\n\r\n' "$path" "$host" | "$@" "${host%:"$port"}" "$port" 2>/dev/null 9<&- |
        head -n 1 | grep -q '^HTTP/[^ ]* 200'
}

tick() {
    load
    case $state in
    # A timer without a lease is left by an `acquire` that was cut short.
    free) no_timer; return ;;
    held | stuck) return ;;
    esac
    [ "$state" = undoing ] || say "the lease of $run ran out: $owner was not heard of for $ttl s; undoing"
    # Undoing goes on where the disk takes nothing any more.
    begun_boot='' begun=0
    [ ! -f "$D/undoing" ] || read -r begun_boot begun <"$D/undoing"
    [ "$begun_boot" = "$boot" ] || { begun=$up && echo "$boot $up" 2>/dev/null >"$D/undoing"; }
    if undo_all; then
        say "everything of $run is undone here; the lease is free"
        finish
    elif [ $((up - begun)) -gt "$PATIENCE" ]; then
        say "given up after $PATIENCE s: mend the cause, then run \`drillctl recover\`"
        : >"$D/stuck"
        no_timer
    fi
}

# An `acquire` that a full disk cut short has not wound the clock: the watch from before still has the undos.
watch() { # epoch
    trap '' HUP INT
    memory=$(cat)
    while load && [ "${wound:-$epoch}" = "$1" ]; do
        case $state in
        free | stuck) return ;;
        expired | undoing) printf '%s\n' "$memory" | sh "$D/guard.sh" "$D" tick with-memory ;;
        esac
        sleep 1
    done
}

register() { # id, kind, arguments
    case $1 in *[!a-z0-9.-]*) fail 2 "an id is made of a-z, 0-9, . and -" ;; esac
    # The same id again takes the place of the first; else the next number, of three digits so that names sort.
    file=$(find "$D/undos" -name "[0-9][0-9][0-9]-$1")
    # shellcheck disable=SC2012 # these names hold nothing odd
    last=$(ls "$D/undos" | tail -n 1) && last=${last%%-*}
    file=${file##*/} file=${file:-$((${last:-99} + 1))-$1}
    case $2:${4:-} in
    *:-) ;;
    gateway.restore:* | gateway.flag:* | gateway.haproxy:*)
        put "kept-$1"
        [ "$(sum "$D/kept-$1")" = "$4" ] || fail 74 "the original bytes did not arrive whole" ;;
    esac
    shift
    printf '%s\n' "$@" | put "undos/$file" || exit
}

main() {
    [ -d "$D" ] || fail 2 "$D is not there: install the guard first"
    command=${2:?no command}
    shift 2
    case $command in
    tick) [ "${1:-}" != with-memory ] || memory=$(cat) ; lock -n || return 0 ;;
    watch | boot) ;;
    *) lock ;;
    esac
    case $command in register | strike | renew | undo | release) mine "${1:?no epoch}"; shift ;; esac
    case $command in
    acquire) acquire "$@" ;;
    register) register "$@" ;;
    watch) watch "$@" ;;
    show) show ;;
    tick) tick ;;
    strike) rm -f "$D"/undos/[0-9][0-9][0-9]-"$1" && harden "$D/undos" ;;
    renew) ;;
    undo) undo_all "$@" || { show && exit 77; } ;;
    release)
        ! outstanding || { show && fail 77 "undos are outstanding"; }
        finish ;;
    break)
        load
        if [ -z "$1" ] || [ "$run" != "$1" ]; then fail 2 "the lease is held by ${run:-nobody}, not by $1"; fi
        [ "${2:-}" != forget ] || rm -rf "$D/undos"
        rm -f "$D/stuck"
        say "the lease of $run was broken"
        echo "$boot $up" >"$D/undoing"
        if undo_all; then
            finish
        elif [ "$state" = stuck ]; then
            # Watch and timer ended when it was given up.
            keep_looking
        fi
        show ;;
    boot)
        rm -f "$D/stuck"
        load
        watch "${wound:-$epoch}" </dev/null ;;
    *) fail 2 "there is no command $command" ;;
    esac
}

# On one line: the file may be gone, or another, by the time main returns.
main "$@"; exit
