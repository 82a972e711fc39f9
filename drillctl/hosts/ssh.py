"""The real transport: SSH by paramiko. Unknown host keys are refused; every wait has an end."""

from __future__ import annotations

import contextlib
import logging
import select
import shlex
import socket
import subprocess
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, cast

import paramiko

from drillctl import account
from drillctl.errors import FileError, HostError, HostKeyRefused, LoginRefused, Unreachable
from drillctl.hosts.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from drillctl.inventory import SshOptions

# paramiko logs tracebacks of refused logins by itself; what matters of them is in our errors.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

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
                channel = self._connection().open_session(timeout=timeout)
                channel.exec_command(command)
            with contextlib.closing(channel):
                channel.settimeout(timeout)
                return self._checked(_converse(channel, stdin, deadline))
        except TimeoutError:
            raise self._late(command, timeout) from None
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise Unreachable(
                f"the connection was lost while a command ran ({_reason(error)})",
                host=self.host,
                hint="look whether the host is up, then run the command again",
            ) from None

    def warm(self, commands: int = 1) -> None:
        """Open channels whose shell has started and waits for its command: a login shell can take 0.3 s."""
        try:
            while len(self._warm) < commands:
                channel = self._connection().open_session(timeout=10)
                channel.exec_command(_WAITING)
                self._warm.append(channel)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise Unreachable(f"no channel could be opened ({_reason(error)})", host=self.host) from None

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
            raise Unreachable(f"{address}:{port} could not be reached ({_reason(error)})", host=self.host) from None
        channel.settimeout(timeout)
        # A paramiko channel has the methods of a socket that http.client uses.
        return cast("socket.socket", channel)

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
            raise Unreachable("the connection is closed", host=self.host)
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

    def __init__(self, login: Callable[[], tuple[paramiko.SSHClient, _Proxy | None]]) -> None:
        self._login = login
        self.client, self.proxy = login()

    def renew(self) -> None:
        """Log in again, then give up the old connection. Raises what `connect` raises; the old one stays then."""
        before = self.client, self.proxy
        self.client, self.proxy = self._login()
        _close(*before)

    def close(self) -> None:
        """Close the connection."""
        _close(self.client, self.proxy)


def connect(host: str, address: str, options: SshOptions) -> SshTransport:
    """Log in to a host and return its transport.

    What `options` leaves open comes from ~/.ssh/config (HostName, User, Port, IdentityFile, ProxyJump, ProxyCommand)
    and the agent. Raises Unreachable, HostKeyRefused, LoginRefused or FileError.
    """
    return SshTransport(host, _Link(lambda: _login(host, address, options)), sudo=options.by == "sudo")


def _login(host: str, address: str, options: SshOptions) -> tuple[paramiko.SSHClient, _Proxy | None]:
    configured = _user_config(address)
    hostname = configured.get("hostname", address)
    port = options.port or int(configured.get("port", 22))
    user = options.user or configured.get("user") or account.user()
    identities = [str(options.key)] if options.key else _existing(configured.get("identityfile", []))
    if options.key and not options.key.is_file():
        raise FileError([f"{options.key}:1:1: the SSH key of `{host}` is not there"])
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(_Refuse(host))
    _load_known_hosts(client, host, options)
    command = proxy_command(configured, hostname, port)
    proxy = _Proxy(command) if command else None
    try:
        client.connect(
            hostname,
            port=port,
            username=user,
            # paramiko takes a list as well; its stubs know only of one name.
            key_filename=cast("str", identities or None),
            allow_agent=options.key is None,
            look_for_keys=options.key is None,
            timeout=options.connect_timeout_seconds,
            banner_timeout=options.connect_timeout_seconds,
            auth_timeout=options.connect_timeout_seconds,
            sock=proxy.socket if proxy else None,
        )
    except HostError:
        _close(client, proxy)
        raise
    except paramiko.BadHostKeyException as error:
        _close(client, proxy)
        raise HostKeyRefused(
            f"the host key of {hostname} has CHANGED: it shows {error.key.fingerprint}, "
            f"known_hosts has {error.expected_key.fingerprint}",
            host=host,
            hint="find out why before you trust it: this is what an interception looks like",
        ) from None
    except (paramiko.AuthenticationException, paramiko.PasswordRequiredException) as error:
        _close(client, proxy)
        key = f" with the key {options.key}" if options.key else ""
        raise LoginRefused(
            f"{user}@{hostname}:{port} refused the login{key} ({_reason(error)})",
            host=host,
            hint=f"try `ssh -p {port} {user}@{hostname} true`; set ssh.user and ssh.key in the inventory",
        ) from None
    except (paramiko.SSHException, OSError, EOFError, ValueError) as error:
        _close(client, proxy)
        raise Unreachable(
            f"{hostname}:{port} cannot be reached by SSH ({_reason(error)})",
            host=host,
            hint=f"try `ssh -p {port} {user}@{hostname} true`",
        ) from None
    connection = client.get_transport()
    if connection is not None:
        connection.set_keepalive(5)
        if proxy is None and isinstance(connection.sock, socket.socket):
            # Otherwise a command and the end of its input wait for each other's acknowledgement: 44 ms instead of 3.
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client, proxy


class _Refuse(paramiko.MissingHostKeyPolicy):
    """Refuse a host whose key is not in known_hosts, and say how to add it."""

    def __init__(self, host: str) -> None:
        self._host = host

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
        raise HostKeyRefused(
            f"the host key of {hostname} is unknown: it shows {key.get_name()} {key.fingerprint}",
            host=self._host,
            hint="compare that fingerprint with the host's own "
            "(`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` there), then add the key to known_hosts",
        )


def _load_known_hosts(client: paramiko.SSHClient, host: str, options: SshOptions) -> None:
    path = options.known_hosts or Path("~/.ssh/known_hosts").expanduser()
    try:
        # Without a name it reads the user's own, which need not be there.
        client.load_system_host_keys(str(options.known_hosts) if options.known_hosts else None)
    except OSError as error:
        raise FileError([f"{path}:1:1: the known_hosts file of `{host}` cannot be read: {error.strerror}"]) from None
    except (paramiko.hostkeys.InvalidHostKey, ValueError) as error:
        raise FileError(
            [
                f"{path}:{_line_of(path, error)}:1: the known_hosts file of `{host}` has a line that is not read: "
                "it takes keys of hosts alone, no `@cert-authority`; name a file without it in `ssh.known_hosts`"
            ]
        ) from None


def _line_of(path: Path, error: Exception) -> int:
    """Return the number of the line that paramiko did not read; 1 when it does not say which."""
    line = getattr(error, "line", None)
    lines = [text.strip() for text in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    return lines.index(line.strip()) + 1 if isinstance(line, str) and line.strip() in lines else 1


def _existing(identities: Iterable[str]) -> list[str]:
    """Return the keys of ~/.ssh/config that are there; `ssh` passes over the others as well."""
    return [str(path) for name in identities if (path := Path(name).expanduser()).is_file()]


def _user_config(address: str) -> paramiko.SSHConfigDict:
    path = Path("~/.ssh/config").expanduser()
    try:
        return paramiko.SSHConfig.from_path(str(path)).lookup(address)
    except FileNotFoundError:
        return paramiko.SSHConfigDict()
    except (OSError, paramiko.ConfigParseError) as error:
        raise FileError([f"{path}:1:1: cannot be used: {error}"]) from None


class _Proxy:
    """A program that carries the connection to a host behind a jump host, as ~/.ssh/config asks for.

    It reads and writes one end of a pair of sockets, so that for paramiko the connection is like any other.
    """

    def __init__(self, command: str) -> None:
        self.socket, its = socket.socketpair()
        with its:
            # By the shell, as ssh does (ssh_config(5), ProxyCommand); a Ctrl-C in the terminal is not meant for it.
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                stdin=its.fileno(),
                stdout=its.fileno(),
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def close(self) -> None:
        self.socket.close()
        self._process.kill()
        self._process.wait()


def proxy_command(configured: Mapping[str, str], hostname: str, port: int) -> str | None:
    """Return the command line that ~/.ssh/config asks for to reach a host, or None when it is reached directly."""
    command, jumps = configured.get("proxycommand", "none"), configured.get("proxyjump", "none")
    if command != "none":
        return command
    if jumps == "none":
        return None
    *before, last = jumps.split(",")
    target = f"[{hostname}]:{port}" if ":" in hostname else f"{hostname}:{port}"
    through = ["-J", ",".join(before)] if before else []
    return shlex.join(["ssh", *through, "-W", target, last if "://" in last else f"ssh://{last}"])


def _close(client: paramiko.SSHClient, proxy: _Proxy | None) -> None:
    client.close()
    if proxy is not None:
        proxy.close()


def _reason(error: BaseException) -> str:
    """Return a short reason without addresses of Python objects or nested classes."""
    if isinstance(error, paramiko.ssh_exception.NoValidConnectionsError):
        error = next(iter(error.errors.values()))
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "the name is not known"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")
