"""How a host is reached: run a command, read a file, replace one; `ssh.py` does it for real."""

from __future__ import annotations

import shlex
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drillctl.errors import CommandFailed, Unreachable

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from drillctl.privileges.installed import Installed

COMMAND_TIMEOUT = 30.0
"""Seconds a remote command may take when the caller says nothing."""


@dataclass(frozen=True)
class Completed:
    """What a remote command did: its words, exit code, both streams (bytes) and how long it took (seconds).

    The exit code is negative when a signal killed the command and the host does not say which.
    """

    argv: tuple[str, ...]
    exit_code: int
    stdout: bytes
    stderr: bytes
    seconds: float

    @property
    def text(self) -> str:
        """Return stdout as text without the last newline; bytes that are not UTF-8 are replaced."""
        return self.stdout.decode("utf-8", "replace").rstrip("\n")

    @property
    def complaint(self) -> str:
        """Return the last line that says anything, of stderr or else of stdout, for a message."""
        for stream in (self.stderr, self.stdout):
            lines = [line.strip() for line in stream.decode("utf-8", "replace").splitlines() if line.strip()]
            if lines:
                return lines[-1]
        return "it said nothing"


class Transport(ABC):
    """One host. Every method has a deadline and raises `HostError` or a subclass that names the host."""

    host: str
    """The host's name in the inventory."""

    @abstractmethod
    def execute(self, command: str, stdin: bytes, timeout: float) -> tuple[int, bytes, bytes]:
        """Run one command line in the host's shell; return exit code, stdout and stderr.

        Both streams are drained while it runs. Raises Unreachable when it does not end within `timeout` seconds or
        the connection is lost; the remote command may then still be running.
        """

    @abstractmethod
    def host_key(self) -> str:
        """Return the fingerprint of the key that the host proved to hold, as `SHA256:…`."""

    @abstractmethod
    def alive(self, timeout: float = 5.0) -> bool:
        """Tell whether the host answers a question now; an open connection proves nothing."""

    @abstractmethod
    def open_tcp(self, address: str, port: int, timeout: float) -> socket.socket:
        """Open a connection from the host to an address, as the host sees it; HTTP is then spoken over it.

        Raises HostError when the host cannot or may not open it, Unreachable when nothing answers there.
        """

    def warm(self, commands: int = 1) -> None:  # noqa: B027 - most ways to a host have nothing to prepare
        """Prepare the way for so many commands to come, so that each takes one round trip and no login."""

    def beside(self) -> Transport:
        """Return another way over the same connection, whose commands leave the channels prepared here alone."""
        return self

    def reconnect(self) -> None:
        """Connect again to a host that went away, in place: whoever has this transport has the new way.

        Raises Unreachable while it does not answer.
        """
        if not self.alive():
            raise Unreachable("it does not answer", host=self.host)

    @property
    def connected(self) -> bool:
        """Tell whether there is a connection, for all that is known without a question to the host."""
        return True

    @abstractmethod
    def close(self) -> None:
        """Close the connection. Closing twice is fine."""

    privileged_prefix: tuple[str, ...] = ()
    """Words put before commands that need root, such as `sudo -n --`."""

    installed: Installed | None = None
    """The programs that alone may be run as root, where an administrator installed them; None: any may be."""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = COMMAND_TIMEOUT,
        check: bool = True,
        privileged: bool = False,
        called: str | None = None,
    ) -> Completed:
        """Run a command given as words; each is quoted for the remote shell.

        Raises CommandFailed when `check` and the exit code is not 0, Unreachable as `execute` does. `called` stands
        for the words in its message.
        """
        words = self._privileged(argv) if privileged else tuple(argv)
        return self._run(words, tuple(argv), stdin, timeout, check=check, called=called)

    def _privileged(self, argv: Sequence[str]) -> tuple[str, ...]:
        if self.installed is not None:
            return self.installed.of_command(argv)
        return (*self.privileged_prefix, *argv)

    def _run(
        self,
        words: tuple[str, ...],
        argv: tuple[str, ...],
        stdin: bytes,
        timeout: float,
        *,
        check: bool,
        called: str | None,
    ) -> Completed:
        begun = time.monotonic()
        code, out, err = self.execute(shlex.join(words), stdin, timeout)
        done = Completed(argv, code, out, err, time.monotonic() - begun)
        if check and code != 0:
            how = f"ended with exit code {code}" if code > 0 else "was killed by a signal"
            raise CommandFailed(f"{called or f'`{shlex.join(argv)}`'} {how}: {done.complaint}", host=self.host)
        return done

    def script(
        self,
        called: str,
        source: str,
        *arguments: str,
        stdin: bytes = b"",
        timeout: float = COMMAND_TIMEOUT,
        check: bool = True,
        privileged: bool = False,
    ) -> Completed:
        """Run a POSIX sh script with arguments ($1, $2, …); the script's text is a constant, values are arguments.

        `called` says in a message what the script does, such as "starting the service". Where only installed programs
        may be run as root, the one of this text is run instead. Raises HostError when there is none.
        """
        argv = ("sh", "-c", source, "drillctl", *arguments)
        if privileged and self.installed is not None:
            words = self.installed.of_script(called, source, arguments)
        else:
            words = (*self.privileged_prefix, *argv) if privileged else argv
        return self._run(words, argv, stdin, timeout, check=check, called=called)

    def read_file(self, path: str, *, privileged: bool = False) -> bytes:
        """Return a file's bytes. Raises CommandFailed when it cannot be read."""
        return self.run(["cat", "--", path], privileged=privileged).stdout

    def replace_file(self, path: str, content: bytes, *, privileged: bool = False) -> None:
        """Replace an existing file atomically: same mode and owner, links followed, synced, then renamed over.

        The new bytes are written beside the old in a dot-file, which include globs do not match. Raises
        CommandFailed with the old file untouched.
        """
        self.script(f"replacing {path}", _REPLACE, path, stdin=content, privileged=privileged)


_REPLACE = """
set -eu
live=$(readlink -f -- "$1")
[ -f "$live" ] || { echo "$1 is not a file" >&2; exit 1; }
new=$(dirname -- "$live")/.$(basename -- "$live").drillctl.$$
trap 'rm -f -- "$new"' EXIT
cp -p -- "$live" "$new"
cat > "$new"
sync -- "$new" 2>/dev/null || sync
mv -f -- "$new" "$live"
sync -- "$(dirname -- "$live")" 2>/dev/null || sync
"""
