"""Everything that can go wrong, as one tree.

    DrillctlError                 code 70 unless a subclass says otherwise
    ├── UsageError                code 2   wrong words on the command line
    ├── FileError                 code 2   an inventory, playbook or image that cannot be used, with file:line:column
    ├── NotStarted                code 4   a gate refused; nothing was changed
    ├── HostError                 code 4   something about one host, before anything was changed
    │   ├── Unreachable                    no answer, or not in time
    │   │   ├── NoAnswer                   a service accepted a connection, and gave no whole answer
    │   │   └── ConnectionLost             the SSH connection ended: what is measured there cannot be seen any more
    │   ├── HostKeyRefused                 unknown or changed host key
    │   ├── LoginRefused                   the key or the user was refused
    │   └── CommandFailed                  a remote command did not do what it should
    ├── HistoryError              code 4   the database of runs and samples; never changes a drill's verdict
    ├── GatewayError              code 4   the gateway's config, test, reload or data path
    ├── OutputLost                code 2   stdout took not all that was asked for; 141 when nobody reads it any more
    ├── Inconclusive              code 3   it could not be measured, or the fault could not be proven
    └── Aborted                   code 5   a person or a signal asked to stop

A missed objective is a verdict, not an exception. The code is what the command line exits with when the error
ends a command by itself; within a drill the engine decides (verdict.py), because by then things may have changed.
"""

from __future__ import annotations


class DrillctlError(Exception):
    """Base of all; `message` says what happened and where, `hint` what to do next.

    `state` says in what state things are now. None of the three may hold a secret.
    """

    exit_code = 70

    def __init__(
        self, message: str, *, host: str | None = None, hint: str | None = None, state: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.host = host
        self.hint = hint
        self.state = state

    def __str__(self) -> str:
        """Return the message, with its host before it."""
        return f"{self.host}: {self.message}" if self.host else self.message


class UsageError(DrillctlError):
    """The command was called in a way that cannot be carried out."""

    exit_code = 2


class FileError(DrillctlError):
    """A file that a person wrote cannot be used; `problems` are lines of the form file:line:column: what.

    Where no line is at fault, they have the form file: what.
    """

    exit_code = 2

    def __init__(self, problems: list[str], *, hint: str | None = None) -> None:
        super().__init__("\n".join(problems), hint=hint, state="nothing was changed")
        self.problems = problems


class NotStarted(DrillctlError):
    """A gate refused the drill before anything was changed."""

    exit_code = 4


class HostError(DrillctlError):
    """Something about one host."""

    exit_code = 4


class Unreachable(HostError):
    """A host does not answer, or did not answer in time."""


class NoAnswer(Unreachable):
    """A service accepted a connection, and gave no whole answer over it."""


class ConnectionLost(Unreachable):
    """The SSH connection to a host ended under drillctl. It says nothing of the service there."""


class HostKeyRefused(HostError):
    """A host showed a key that known_hosts does not hold, or another one than it holds."""


class LoginRefused(HostError):
    """A host refused the user or its key."""


class CommandFailed(HostError):
    """A remote command ended with another exit code than 0, or its output was not what it must be."""


class GatewayError(DrillctlError):
    """The gateway's config, its test, its reload or the path of the data through it."""

    exit_code = 4


class HistoryError(DrillctlError):
    """The database of runs and samples cannot be used; the runs' reports are on disk nevertheless."""

    exit_code = 4


class OutputLost(DrillctlError):
    """Standard output could not be written; `unread`: because its reader went away, as `| head` does."""

    exit_code = 2

    def __init__(self, why: str, *, unread: bool = False) -> None:
        super().__init__(
            f"standard output cannot be written: {why}",
            state="a part of what was asked for is missing there",
            hint="make room where it leads, or send it elsewhere, and ask again",
        )
        self.unread = unread
        if unread:
            self.exit_code = 141


class Inconclusive(DrillctlError):
    """Something that must be measured or proven could not be."""

    exit_code = 3


class Aborted(DrillctlError):
    """A person or a signal asked to stop."""

    exit_code = 5
