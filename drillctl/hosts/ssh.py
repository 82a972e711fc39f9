"""The real transport: SSH by paramiko. Unknown host keys are refused; every wait has an end."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, cast

import paramiko

from drillctl.errors import ConnectionLost, HostError, Unreachable
from drillctl.hosts.channel import whole
from drillctl.hosts.login import close, login, reason
from drillctl.hosts.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.hosts.proxy import Proxy
    from drillctl.inventory import SshOptions

_CHUNK = 1 << 16
_GRACE = 0.5
"""Seconds that output may still come after the exit code; a child left in the background keeps a channel open."""

_END = "end-of-command-5f0c1d7e"
_WAITING = f"""exec sh -c 'c=
while IFS= read -r l; do [ "$l" = {_END} ] && break; c=$c$l"
"; done
[ "$l" = {_END} ] || exit 0
eval "$c"'"""
"""What a warm channel runs: `read` takes single bytes from a pipe, so the rest of stdin is left to the command."""


class SshTransport(Transport):
    """One host over one SSH connection; commands run in channels of their own and may run side by side."""

    def __init__(self, host: str, link: _Link, *, sudo: bool) -> None:
        self.host = host
        self.privileged_prefix = ("sudo", "-n", "--") if sudo else ()
        self._link = link
        self._warm: deque[paramiko.Channel] = deque()
        self._resting: socket.socket | None = None

    def execute(self, command: str, stdin: bytes, timeout: float) -> tuple[int, bytes, bytes]:
        deadline = time.monotonic() + timeout
        try:
            channel = self._warm_channel()
            if channel is not None:
                stdin = f"{command}\n{_END}\n".encode() + stdin
            else:
                channel = whole(self._connection().open_session(timeout=timeout))
                channel.exec_command(command)
            with contextlib.closing(channel):
                channel.settimeout(timeout)
                return self._checked(_converse(channel, stdin, deadline))
        except TimeoutError:
            raise self._late(command, timeout) from None
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise ConnectionLost(
                f"the connection was lost while a command ran ({reason(error)})",
                host=self.host,
                hint="look whether the host is up, then run the command again",
            ) from None

    def warm(self, commands: int = 1) -> None:
        """Open channels whose shell has started and waits for its command: a login shell can take 0.3 s."""
        try:
            while len(self._warm) < commands:
                channel = whole(self._connection().open_session(timeout=10))
                channel.exec_command(_WAITING)
                self._warm.append(channel)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise ConnectionLost(f"no channel could be opened ({reason(error)})", host=self.host) from None

    def beside(self) -> SshTransport:
        other = SshTransport(self.host, self._link, sudo=bool(self.privileged_prefix))
        other.installed = self.installed
        return other

    def reconnect(self) -> None:
        self._warm.clear()
        self._link.renew()

    def _warm_channel(self) -> paramiko.Channel | None:
        with contextlib.suppress(IndexError):
            while True:
                channel = self._warm.popleft()
                if not channel.closed:
                    return channel
        return None

    def open_tcp(self, address: str, port: int, timeout: float) -> socket.socket:
        try:
            channel = self._connection().open_channel(
                "direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=timeout
            )
        except paramiko.ChannelException as error:
            if error.code == paramiko.common.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED:
                raise HostError(
                    "its sshd forbids forwarding, which drillctl needs to ask the service as this host sees it",
                    host=self.host,
                    hint="allow it for this user: `AllowTcpForwarding local` in sshd_config",
                ) from None
            raise Unreachable(f"{address}:{port} does not accept connections from here", host=self.host) from None
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise Unreachable(f"{address}:{port} could not be reached ({reason(error)})", host=self.host) from None
        channel.settimeout(timeout)
        # A paramiko channel has the methods of a socket that http.client uses.
        return cast("socket.socket", whole(channel))

    def host_key(self) -> str:
        return self._connection().get_remote_server_key().fingerprint

    def alive(self, timeout: float = 5.0) -> bool:
        try:
            return self.execute("true", b"", timeout)[0] == 0
        except HostError:
            return False

    @property
    def connected(self) -> bool:
        connection = self._link.client.get_transport()
        return connection is not None and connection.is_active()

    def rest(self, seconds: float) -> None:
        """Let the connection look at itself only so often while nothing is said over it.

        paramiko wakes up ten times a second for each connection, which adds up over many that stay open.
        """
        wire = self._connection().sock
        if isinstance(wire, socket.socket):
            wire.settimeout(seconds)
            self._resting = wire

    def close(self) -> None:
        if self._resting is not None:
            # Wakes the thread that reads, which would otherwise be waited for.
            with contextlib.suppress(OSError):
                self._resting.shutdown(socket.SHUT_RDWR)
        self._link.close()

    def _connection(self) -> paramiko.Transport:
        connection = self._link.client.get_transport()
        if connection is None or not connection.is_active():
            raise ConnectionLost("the connection is closed", host=self.host)
        return connection

    def _checked(self, ended: tuple[int, bytes, bytes]) -> tuple[int, bytes, bytes]:
        """Raise SSHException when a channel closed without an exit code because the connection is gone.

        Otherwise a signal ended the command. paramiko closes its channels shortly before it notes the loss.
        """
        if ended[0] < 0:
            time.sleep(0.1)
            if not self.connected:
                raise paramiko.SSHException("the host closed it")
        return ended

    def _late(self, command: str, timeout: float) -> Unreachable:
        shown = command if len(command) <= 60 else command[:57] + "…"
        return Unreachable(
            f"no end of `{shown}` within {timeout:g} s",
            host=self.host,
            state="the command may still be running there",
        )


def _converse(channel: paramiko.Channel, stdin: bytes, deadline: float) -> tuple[int, bytes, bytes]:
    """Send the input while both streams are read, until the command has ended; raise TimeoutError at the deadline.

    All three at once, because a command such as `cat` stops reading when nobody takes what it writes. The exit code
    is -1 when the channel was closed without one.
    """
    out, err = bytearray(), bytearray()
    sent, sending = 0, True
    last_output: float | None = None
    while True:
        moved = False
        if sending:
            sending, sent = _send(channel, stdin, sent)
        # The descriptor turns readable for data on either stream and for the end; it does not for the exit code
        # alone, nor when more input is welcome, hence the short waits.
        select.select([channel], [], [], 0.002 if sending else 0.05)
        while channel.recv_ready() and (chunk := channel.recv(_CHUNK)):
            out += chunk
            moved = True
        while channel.recv_stderr_ready() and (chunk := channel.recv_stderr(_CHUNK)):
            err += chunk
            moved = True
        now = time.monotonic()
        if channel.exit_status_ready() and not moved:
            last_output = last_output or now
            if channel.eof_received or channel.closed or now - last_output > _GRACE:
                return channel.recv_exit_status(), bytes(out), bytes(err)
        if now > deadline:
            raise TimeoutError


def _send(channel: paramiko.Channel, stdin: bytes, sent: int) -> tuple[bool, int]:
    """Send what the host takes now of the input, and its end; return whether there is more to send, and how far it is.

    A command that ended without reading all of its input closed the channel: that is its right.
    """
    with contextlib.suppress(OSError):
        while sent < len(stdin) and not channel.closed and channel.send_ready():
            sent += channel.send(stdin[sent : sent + _CHUNK])
        if sent < len(stdin) and not channel.closed:
            return True, sent
        if not channel.closed:
            channel.shutdown_write()
    return False, sent


class _Link:
    """The connection that a transport and those beside it share; it can be made anew under them."""

    def __init__(self, login: Callable[[], tuple[paramiko.SSHClient, Proxy | None]]) -> None:
        self._login = login
        self.client, self.proxy = login()

    def renew(self) -> None:
        """Log in again, then give up the old connection. Raises what `connect` raises; the old one stays then."""
        before = self.client, self.proxy
        self.client, self.proxy = self._login()
        close(*before)

    def close(self) -> None:
        """Close the connection."""
        close(self.client, self.proxy)


def connect(host: str, address: str, options: SshOptions) -> SshTransport:
    """Log in to a host and return its transport.

    What `options` leaves open comes from ~/.ssh/config (HostName, User, Port, IdentityFile, ProxyJump, ProxyCommand)
    and the agent. Raises Unreachable, HostKeyRefused, LoginRefused or FileError.
    """
    return SshTransport(host, _Link(lambda: login(host, address, options)), sudo=options.by == "sudo")
