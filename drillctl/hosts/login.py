"""Logging in by SSH: whose key it is, what ~/.ssh/config adds, and what a refusal means."""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import TYPE_CHECKING, cast

import paramiko

from drillctl import account
from drillctl.errors import FileError, HostError, HostKeyRefused, LoginRefused, Unreachable
from drillctl.hosts.proxy import Proxy, proxy_command

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drillctl.inventory import SshOptions

# paramiko logs tracebacks of refused logins by itself; what matters of them is in our errors.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


def login(host: str, address: str, options: SshOptions) -> tuple[paramiko.SSHClient, Proxy | None]:
    """Log in to a host; return the client, and the program that carries its connection where there is one.

    Raises Unreachable, HostKeyRefused, LoginRefused or FileError.
    """
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
    proxy = Proxy(command) if command else None
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
        close(client, proxy)
        raise
    except paramiko.BadHostKeyException as error:
        close(client, proxy)
        raise HostKeyRefused(
            f"the host key of {hostname} has CHANGED: it shows {error.key.fingerprint}, "
            f"known_hosts has {error.expected_key.fingerprint}",
            host=host,
            hint="find out why before you trust it: this is what an interception looks like",
        ) from None
    except (paramiko.AuthenticationException, paramiko.PasswordRequiredException) as error:
        close(client, proxy)
        key = f" with the key {options.key}" if options.key else ""
        raise LoginRefused(
            f"{user}@{hostname}:{port} refused the login{key} ({reason(error)})",
            host=host,
            hint=f"try `ssh -p {port} {user}@{hostname} true`; set ssh.user and ssh.key in the inventory",
        ) from None
    except (paramiko.SSHException, OSError, EOFError, ValueError) as error:
        close(client, proxy)
        raise Unreachable(
            f"{hostname}:{port} cannot be reached by SSH ({reason(error)})",
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


def close(client: paramiko.SSHClient, proxy: Proxy | None) -> None:
    """End what `login` returned."""
    client.close()
    if proxy is not None:
        proxy.close()


def reason(error: BaseException) -> str:
    """Return a short reason without addresses of Python objects or nested classes."""
    if isinstance(error, paramiko.ssh_exception.NoValidConnectionsError):
        error = next(iter(error.errors.values()))
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "the name is not known"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")
