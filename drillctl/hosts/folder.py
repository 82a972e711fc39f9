"""How root works in a folder where somebody else may write: functions of POSIX sh for the scripts that do.

Whoever may write a folder can put a link in the place of a file there, and whoever may write one above it can put
another folder in its place; root would follow both. So a script goes into the folder once, and names files from there.
"""

OPEN_ABOVE = r"""
# Print the first folder above one in which somebody but root can put another in its place; nothing when there is none.
# Where everybody may write, but remove only what is theirs (`t`), nobody can.
open_above() { # absolute path; another, when it leads elsewhere
    [ "$(id -u)" = 0 ] || return 0
    for place; do
        while [ -n "$place" ]; do
            place=${place%/*}
            case $(stat -L -c '%u %A' -- "${place:-/}" 2>/dev/null) in
            '' | '0 d'????-??-? | '0 d'????????[tT]) ;;
            *) printf '%s\n' "${place:-/}" && return ;;
            esac
        done
    done
}
"""
"""A function that needs `stat`; a folder that is not there yet is none that somebody could replace."""

ENTER = (
    OPEN_ABOVE
    + r"""
# Go to where a file is, and set $as to the words that run a command there: as whoever owns the folder, because what is
# in it is theirs anyway. As root only where nobody else can write.
enter() { # absolute path of the file
    folder=${1%/*}
    cd -P -- "$folder/" || exit 1
    as='' owner=$(stat -c %u .)
    [ "$(id -u)" = 0 ] || return 0
    if [ "$owner" = 0 ]; then
        case $(stat -c %A .) in d????-??-?) open=$(open_above "$folder" "$(pwd -P)") ;; *) open=$folder ;; esac
        [ -n "$open" ] || return 0
        echo "root does not work in $folder: others may write $open" \
            "(make it root's alone, or give $folder to the service's user)" >&2
        exit 1
    fi
    command -v setpriv >/dev/null || {
        echo "there is no program setpriv, by which root works in $folder as its owner: install util-linux" >&2
        exit 1
    }
    # The user of a unit with `DynamicUser` has no entry while the unit does not run.
    groups=--init-groups
    group=$(id -g -- "$(stat -c %U .)" 2>/dev/null) || group=$owner groups=--clear-groups
    as="setpriv --reuid=$owner --regid=$group $groups --no-new-privs --"
}
"""
)
"""A function that goes into a file's folder, or ends the script with 1 and the reason when that is not safe."""
