"""What an administrator runs on a host as root: scripts that put drillctl's programs there or remove them (pure)."""

from __future__ import annotations

import hashlib
import shlex
from posixpath import dirname
from typing import TYPE_CHECKING

from drillctl.guard.client import program as guard
from drillctl.privileges import registry, sudoers
from drillctl.privileges.program import FOLDER

if TYPE_CHECKING:
    from drillctl.inventory import Host, Inventory

SUDOERS = "/etc/sudoers.d/drillctl"
_INSTALL = r"""#!/bin/sh
# Lets the user @USER@ run drillctl's programs as root on @HOST@ (estate @ESTATE@), and nothing else.
#
# Run this as root on @HOST@. It makes @FOLDER@ and @SUDOERS@, changes nothing
# else, and may be repeated: what is right already stays, programs of an older version go. `@REMOVE@`
# prints what removes both again.
set -eu
umask 022
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin
folder=@FOLDER@ rules=@SUDOERS@ user=@QUOTED@
names=' @NAMES@ '

fail() { printf 'drillctl: %s\n' "$*" >&2; printf 'drillctl: nothing was changed\n' >&2; exit 1; }
is_read() {
    sudo -n -l -U "$user" "$folder/check" >/dev/null 2>&1 || {
        printf 'drillctl: sudo does not read %s: /etc/sudoers needs %s\n' "$rules" "@includedir /etc/sudoers.d" >&2
        exit 1
    }
}

[ "$(id -u)" = 0 ] || fail "this must be run by root"
for name in sudo visudo sha256sum su stat cmp mktemp unshare; do
    command -v "$name" >/dev/null || fail "there is no program $name here: install it first"
done
uid=$(id -u "$user" 2>/dev/null) ||
    fail "there is no user $user here: useradd --system --create-home --shell /bin/sh $user"
[ "$uid" != 0 ] || fail "$user is root: drillctl wants a user of its own"
# Whoever may write a folder can put a link in the place of what is in it, and have root follow it.
# shellcheck disable=SC2016 # expands in the shell of the user
open=$(su -s /bin/sh "$user" -c '
    for place in @WATCHED@; do if [ -w "$place" ] || [ -O "$place" ]; then echo "$place"; fi; done') ||
    fail "no shell can be run as $user"
# shellcheck disable=SC2086,SC2116 # on one line
[ -z "$open" ] || fail "$user may write what root is to trust: $(echo $open)"

mkdir -p "${folder%/*}"
new=$(mktemp -d "${folder%/*}/.drillctl.XXXXXX")
trap 'rm -rf -- "$new"' EXIT
@FILES@
sums() { (cd "$1" && sha256sum -- *); }
[ "$(sums "$new")" = "$(cat <<'@END@'
@SUMS@
@END@
)" ] || fail "the programs did not arrive whole"
chmod 755 "$new" "$new"/*
mv "$new/sudoers" "$new.sudoers"
trap 'rm -rf -- "$new" "$new.sudoers"' EXIT
chmod 440 "$new.sudoers"
said=$(visudo -cf "$new.sudoers" 2>&1) || fail "sudo does not accept the rules: $said"

if [ -f "$rules" ] && cmp -s "$new.sudoers" "$rules" && [ "$(sums "$folder" 2>/dev/null)" = "$(sums "$new")" ]; then
    chown 0:0 "$folder" "$folder"/* "$rules"
    chmod 755 "$folder" "$folder"/*
    chmod 440 "$rules"
    is_read
    echo "drillctl: all of it was in place already"
    exit 0
fi
mkdir -p "$folder"
chown 0:0 "$folder"
chmod 755 "$folder"
for file in "$new"/*; do mv -f -- "$file" "$folder/${file##*/}"; done
for file in "$folder"/*; do
    case $names in *" ${file##*/} "*) ;; *) rm -f -- "$file" ;; esac
done
# The rules last, when all that they allow is there. A name with a dot is none that sudo reads.
cp "$new.sudoers" "$rules.new"
chmod 440 "$rules.new"
kept=
if [ -f "$rules" ]; then kept=$rules.kept && cp -p "$rules" "$kept"; fi
mv -f "$rules.new" "$rules"
if ! said=$(visudo -c 2>&1); then
    if [ -n "$kept" ]; then mv -f "$kept" "$rules"; else rm -f "$rules"; fi
    printf 'drillctl: sudo does not accept these rules beside its others; they were taken out again: %s\n' "$said" >&2
    exit 1
fi
rm -f "$rules.kept"
is_read
echo "drillctl: $user may now run the programs in $folder as root"
"""

_REMOVE = r"""#!/bin/sh
# Takes away what lets the user @USER@ run drillctl's programs as root on @HOST@. Run it as root there; safe to repeat.
set -eu
[ "$(id -u)" = 0 ] || { echo "drillctl: this must be run by root" >&2; exit 1; }
for lease in /var/lib/drillctl/*/lease; do
    [ ! -e "$lease" ] || {
        echo "drillctl: a drill holds $lease: let it end, or run \`drillctl recover\`; nothing was changed" >&2
        exit 1
    }
done
rm -f -- @SUDOERS@
rm -rf -- @FOLDER@ /var/lib/drillctl/@HOST@
rmdir /var/lib/drillctl 2>/dev/null || :
user=@QUOTED@
printf 'drillctl: removed; the user %s stays, `userdel -r %s` removes it as well\n' "$user" "$user"
"""


def files(inventory: Inventory, host: Host) -> dict[str, tuple[str, int]]:
    """Return what is installed on a host: path → text and mode; empty where drillctl needs no root."""
    programs = registry.programs(inventory, host)
    if not programs:
        return {}
    found = {program.path: (program.text, 0o755) for program in programs}
    found[f"{FOLDER}/guard.sh"] = (guard().decode("utf-8"), 0o755)
    found[SUDOERS] = (sudoers.text(inventory, host), 0o440)
    return found


def install_script(inventory: Inventory, host: Host) -> str:
    """Return the script that installs everything on a host; empty where drillctl needs no root.

    Raises UsageError when the inventory does not say who logs in.
    """
    wanted = files(inventory, host)
    if not wanted:
        return ""
    texts = {("sudoers" if path == SUDOERS else path.rpartition("/")[2]): text for path, (text, _) in wanted.items()}
    end = "DRILLCTL-" + hashlib.sha256("".join(texts.values()).encode()).hexdigest()[:12]
    written = "".join(f"cat >\"$new/{name}\" <<'{end}'\n{text}{end}\n" for name, text in sorted(texts.items()))
    sums = "\n".join(f"{hashlib.sha256(text.encode()).hexdigest()}  {name}" for name, text in sorted(texts.items()))
    watched = " ".join(shlex.quote(path) for path in _watched(inventory, host))
    script = _common(_INSTALL, inventory, host)
    for mark, value in (
        # Within single quotes already.
        ("@WATCHED@", watched.replace("'", "'\\''")),
        ("@REMOVE@", f"drillctl privileges remove-script {host.name}"),
        ("@NAMES@", " ".join(sorted(texts.keys() - {"sudoers"}))),
        ("@END@", end),
        ("@SUMS@", sums),
        ("@FILES@\n", written),
    ):
        script = script.replace(mark, value)
    return script


def remove_script(inventory: Inventory, host: Host) -> str:
    """Return the script that removes from a host what `install_script` put there."""
    return _common(_REMOVE, inventory, host)


def how(host: str, address: str) -> str:
    """Return the command that installs on a host what drillctl needs there."""
    return f"drillctl privileges install-script {host} | ssh ADMINISTRATOR@{address} sudo sh"


def _common(script: str, inventory: Inventory, host: Host) -> str:
    values = {
        "@QUOTED@": shlex.quote(sudoers.user_of(inventory, host)),
        "@USER@": sudoers.user_of(inventory, host),
        "@HOST@": host.name,
        "@ESTATE@": inventory.name,
        "@FOLDER@": FOLDER,
        "@SUDOERS@": SUDOERS,
    }
    for mark, value in values.items():
        script = script.replace(mark, value)
    return script


def _watched(inventory: Inventory, host: Host) -> list[str]:
    """Return every file that root is to trust, and every folder above one."""
    found: dict[str, None] = dict.fromkeys([FOLDER])
    for path in (f"{FOLDER}/check", SUDOERS, "/var/lib/drillctl", *registry.watched_paths(inventory, host)):
        if path in registry.trusted_files(inventory, host):
            found[path] = None
        while path != "/":
            path = dirname(path)
            found[path] = None
    return list(found)
