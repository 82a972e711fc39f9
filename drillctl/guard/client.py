"""The guard of one host, as drillctl speaks to it: acquire, register, strike, renew, undo, release."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import TYPE_CHECKING

from drillctl.errors import CommandFailed
from drillctl.guard.lease import Held, Holding, Lease, Order, StaleLease, parse

if TYPE_CHECKING:
    from drillctl.hosts.transport import Completed, Transport

TIMEOUT = 30.0
"""Seconds for one command; it may have to wait for an undo that the guard is at."""

_HELD, _STALE, _OUTSTANDING = 75, 76, 77

_TAKE = """
set -eu
umask 077
# From here on it goes to its end, also when nobody listens any more: a guard without a lease would stay for ever.
trap '' HUP PIPE
if [ "$(id -u)" = 0 ]; then folder=/var/lib/drillctl/$1; else folder=$HOME/.drillctl/$1; fi
mkdir -p -- "$folder"
new=$folder/.guard.$$
trap 'rm -f -- "$new"' EXIT
# Byte by byte, so that what comes behind the program is left to it.
dd bs=1 count="$3" > "$new" 2>/dev/null
sum=$(sha256sum < "$new")
[ "${sum%% *}" = "$2" ] || { echo "the guard did not arrive whole" >&2; exit 1; }
if cmp -s -- "$new" "$folder/guard.sh"; then :; else
    sync -- "$new" 2>/dev/null || sync
    mv -f -- "$new" "$folder/guard.sh"
fi
shift 3
code=0
sh "$folder/guard.sh" "$folder" acquire "$@" || code=$?
[ "$code" = 0 ] || [ -e "$folder/lease" ] || rm -f -- "$folder/guard.sh"
printf 'folder %s\\n' "$folder" || true
exit "$code"
"""

_SHOW = """
if [ "$(id -u)" = 0 ]; then folder=/var/lib/drillctl/$1; else folder=$HOME/.drillctl/$1; fi
if [ -e "$folder/guard.sh" ]; then sh "$folder/guard.sh" "$folder" show; else echo 'state free'
    # Of a guard that has removed itself only the number of its last lease stays.
    [ ! -e "$folder/epoch" ] || { read -r epoch < "$folder/epoch" && echo "epoch $epoch"; }
fi
printf 'folder %s\\n' "$folder"
"""

ENTRY = """
# The guard, for a user who is not root: its folder and its program are fixed, and nothing is taken from memory, because
# whatever a process is to be started with would be started as root.
host=$1
shift
folder=/var/lib/drillctl/$host program=/usr/local/libexec/drillctl/guard.sh
case $1 in
acquire)
    umask 077
    mkdir -p -- "$folder" || exit 74
    if ! cmp -s -- "$program" "$folder/guard.sh"; then
        new=$folder/.guard.$$
        { cat "$program" >"$new" && { sync -- "$new" 2>/dev/null || sync; } && mv -f -- "$new" "$folder/guard.sh"; } ||
            exit 74
    fi
    exec </dev/null
    ;;
show)
    if [ ! -e "$folder/guard.sh" ]; then
        echo 'state free'
        # Of a guard that has removed itself only the number of its last lease stays.
        [ ! -e "$folder/epoch" ] || { read -r epoch <"$folder/epoch" && echo "epoch $epoch"; }
        exit 0
    fi
    ;;
esac
exec sh "$folder/guard.sh" "$folder" "$@"
"""
"""host, command, words: speaks to the guard of a host where only installed programs may be run as root."""


def program() -> bytes:
    """Return the guard's program, a constant of this version of drillctl."""
    return (resources.files("drillctl.guard") / "guard.sh").read_bytes()


class GuardClient:
    """The guard of one host. Methods raise HostError, StaleLease or Held; `renew` and `strike` are safe to repeat.

    Commands go over channels of their own, so that those prepared for the switch stay for the switch.
    """

    def __init__(self, transport: Transport) -> None:
        self.host = transport.host
        self._transport = transport.beside()
        self._folder = ""
        self.lease: Lease | None = None

    def acquire(self, run: str, owner: str, ttl: int, memory: bytes = b"") -> Lease:
        """Take the lease for a run, with an epoch higher than any before; `ttl` is in seconds.

        The program is put on the host by the same command, unless exactly it is there, so that there is no moment at
        which a guard without a lease could be left behind. `memory` is how the service is started again where no
        supervisor does it; the guard keeps it in memory only. Raises Held when another run holds the lease, or left
        something undone, and CommandFailed when the host does not take the program.
        """
        done = self._take(run, owner, ttl, memory)
        if self._gone(done):
            # A guard that has just finished removes itself.
            done = self._take(run, owner, ttl, memory)
        text, told, folder = done.text.rpartition("\nfolder ")
        if done.exit_code == _HELD:
            raise Held(parse(self.host, text if told else done.text))
        self._check(done, "acquire")
        self._folder = folder if told else self._folder
        self.lease = Lease(self.host, self._folder, int((text if told else done.text).removeprefix("epoch ")), ttl)
        return self.lease

    def register(self, order: Order) -> None:
        """Have an undo written down and synced; the same id takes the place of the one before."""
        done = self._say("register", self._epoch(), order.id, order.kind, *order.arguments, stdin=order.kept)
        self._check(done, "register")

    def strike(self, order_id: str) -> None:
        """Strike an undo out; one that is not there is fine."""
        self._check(self._say("strike", self._epoch(), order_id), "strike")

    def renew(self, timeout: float = TIMEOUT) -> None:
        """Make the lease last its whole time from now on."""
        self._check(self._say("renew", self._epoch(), timeout=timeout), "renew")

    def undo(self) -> Holding:
        """Have everything that is outstanding undone, last first; return what the guard holds then."""
        done = self._say("undo", self._epoch(), timeout=60.0)
        if done.exit_code != _OUTSTANDING:
            self._check(done, "undo")
        return self.show()

    def undo_one(self, order_id: str) -> None:
        """Have one undo carried out; one that is not there any more was. Raises CommandFailed when it fails."""
        done = self._say("undo", self._epoch(), order_id, timeout=60.0)
        if done.exit_code == _OUTSTANDING:
            log = parse(self.host, done.text).log
            why = log[-1].partition(" ")[2] if log else "its log says nothing"
            raise CommandFailed(f"the guard could not undo {order_id}: {why}", host=self.host)
        self._check(done, "undo")

    def release(self) -> None:
        """Give the lease back. Raises CommandFailed while undos are outstanding."""
        self._check(self._say("release", self._epoch()), "release")
        self.lease, self._folder = None, ""

    def break_lease(self, run: str, *, forget: bool) -> Holding:
        """End the lease of exactly this run and have it undone; `forget` drops what is outstanding instead."""
        if not self._folder:
            self.show()
        done = self._say("break", run, *(["forget"] if forget else []), timeout=60.0)
        self._check(done, "break")
        return parse(self.host, done.text)

    def show(self) -> Holding:
        """Return what the guard holds; a host without a guard holds nothing."""
        if self._by_entry:
            self._folder = f"/var/lib/drillctl/{self.host}"
            done = self._say("show")
            if self._gone(done):
                done = self._say("show")
            self._check(done, "show")
            return parse(self.host, done.text)
        done = self._transport.script("asking the guard", _SHOW, self.host, timeout=TIMEOUT, privileged=True)
        text, _, folder = done.text.rpartition("folder ")
        self._folder = self._folder or folder
        return parse(self.host, text)

    @property
    def _by_entry(self) -> bool:
        """Tell whether the guard is spoken to by a program that an administrator installed."""
        installed = self._transport.installed
        return installed is not None and installed.as_root

    def _take(self, run: str, owner: str, ttl: int, memory: bytes) -> Completed:
        if self._by_entry:
            self._folder = f"/var/lib/drillctl/{self.host}"
            return self._say("acquire", run, owner, str(ttl), stdin=memory)
        content = program()
        words = (self.host, hashlib.sha256(content).hexdigest(), str(len(content)), run, owner, str(ttl))
        return self._transport.script(
            "taking the lease", _TAKE, *words, stdin=content + memory, check=False, privileged=True
        )

    def _epoch(self) -> str:
        if self.lease is None:
            raise StaleLease("this run has no lease there", host=self.host)
        return str(self.lease.epoch)

    def _say(self, *words: str, stdin: bytes = b"", timeout: float = TIMEOUT) -> Completed:
        if self._by_entry:
            return self._transport.script(
                "asking the guard", ENTRY, self.host, *words, stdin=stdin, timeout=timeout, check=False, privileged=True
            )
        argv = ["sh", f"{self._folder}/guard.sh", self._folder, *words]
        return self._transport.run(argv, stdin=stdin, timeout=timeout, check=False, privileged=True)

    def _check(self, done: Completed, command: str) -> None:
        """Raise for an exit code that is not 0."""
        if done.exit_code == 0:
            return
        gone = self._gone(done)
        if done.exit_code == _STALE or gone:
            raise StaleLease(
                "the lease is not this run's any more: " + ("the guard is gone" if gone else done.complaint),
                host=self.host,
                hint="the guard undoes, or has undone, what this run did there; `drillctl lease show` tells",
            )
        raise CommandFailed(f"the guard's `{command}` failed: {done.complaint}", host=self.host)

    def _gone(self, done: Completed) -> bool:
        """Tell whether the guard has removed itself because it holds nothing: dash says 2 then, other shells 127."""
        return done.exit_code in {2, 127} and b"guard.sh" in done.stderr
