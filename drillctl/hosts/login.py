"""Logging in by SSH: whose key it is, what ~/.ssh/config adds, and what a refusal means."""

from __future__ import annotations

import logging
import re
import shlex
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
    port = options.port or _port(configured.get("port", "22"))
    user = options.user or configured.get("user") or account.user()
    identities = [str(options.key)] if options.key else _existing(configured.get("identityfile", []))
    if options.key and not is_file(options.key):
        raise FileError([f"{options.key}: the SSH key of `{host}` is not there"], hint="`ssh.key` names it")
    client = paramiko.SSHClient()
    command = proxy_command(configured, hostname, port)
    known_hosts = options.known_hosts or _home("known_hosts")
    client.set_missing_host_key_policy(_Refuse(host, known_hosts, hostname, port, direct=command is None))
    _load_known_hosts(client, host, options)
    same = f"try `{_as_ssh(address, port, user, options)}`"
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
            f"{known_hosts} has {error.expected_key.fingerprint}",
            host=host,
            hint="find out why before you trust it: this is what an interception looks like",
        ) from None
    except (paramiko.AuthenticationException, paramiko.PasswordRequiredException) as error:
        close(client, proxy)
        key = f" with the key {options.key}" if options.key else ""
        raise LoginRefused(
            f"{user}@{hostname}:{port} refused the login{key} ({reason(error)})",
            host=host,
            hint=f"{same}; set ssh.user and ssh.key in the inventory",
        ) from None
    except (paramiko.SSHException, OSError, EOFError, ValueError) as error:
        close(client, proxy)
        raise Unreachable(
            f"{hostname}:{port} cannot be reached by SSH ({reason(error)})",
            host=host,
            hint=same,
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

    def __init__(self, host: str, known_hosts: Path, name: str, port: int, *, direct: bool) -> None:
        self._host = host
        self._known_hosts = known_hosts
        self._at = (*(("-p", str(port)) if port != 22 else ()), name)
        self._where = "" if direct else " where the host is reached without a jump host"

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
        kind = next((kind for kind in ("ed25519", "ecdsa", "rsa") if kind in key.get_name()), "ed25519")
        scan = shlex.join(["ssh-keyscan", "-t", kind, *self._at])
        raise HostKeyRefused(
            f"the host key of {hostname} is unknown: it shows {key.get_name()} {key.fingerprint}",
            host=self._host,
            hint="compare that fingerprint with the one that "
            f"`ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub` shows on the host's own console; only if it is the "
            f"same, add the key: `{scan} >> {shlex.quote(str(self._known_hosts))}`{self._where}",
        )


def _load_known_hosts(client: paramiko.SSHClient, host: str, options: SshOptions) -> None:
    path = options.known_hosts or _home("known_hosts")
    try:
        # Without a name it reads the user's own, which need not be there.
        client.load_system_host_keys(str(options.known_hosts) if options.known_hosts else None)
    except OSError as error:
        raise FileError([f"{path}: the known_hosts file of `{host}` cannot be read: {error.strerror}"]) from None
    except (paramiko.hostkeys.InvalidHostKey, ValueError) as error:
        raise FileError(
            [
                f"{_place(path, _line_of(path, error))}: the known_hosts file of `{host}` has a line that is not read: "
                "it takes keys of hosts alone, no `@cert-authority`; name a file without it in `ssh.known_hosts`"
            ]
        ) from None


def _line_of(path: Path, error: Exception) -> int | None:
    """Return the number of the line that paramiko did not read; None when it does not say which."""
    line = getattr(error, "line", None)
    wanted = line.strip() if isinstance(line, str) else None
    return next((number for number, text in _lines(path) if text == wanted), None)


def _existing(identities: Iterable[str]) -> list[str]:
    """Return the keys of ~/.ssh/config that are there; `ssh` passes over the others as well."""
    return [str(path) for name in identities if is_file(path := Path(name).expanduser())]


def _user_config(address: str) -> paramiko.SSHConfigDict:
    path = _home("config")
    try:
        # Bytes that are not UTF-8 are nothing to `ssh` in a comment, and taken as they are in a name.
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        return paramiko.SSHConfig.from_text(text).lookup(address)
    except FileNotFoundError:
        return paramiko.SSHConfigDict()
    except OSError as error:
        raise FileError([f"{path}: cannot be used: {error.strerror or error}"]) from None
    except paramiko.ConfigParseError as error:
        line = next((n for n, one in _lines(path) if one and str(error).endswith(one)), None)
        raise FileError([f"{_place(path, line)}: cannot be used: {error}"]) from None
    except (paramiko.SSHException, ValueError, LookupError, ImportError) as error:
        # What paramiko makes of `CanonicalDomains`, `Match exec` and the like; it does not say of which line.
        raise FileError([f"{path}: cannot be used: {type(error).__name__}: {error}"]) from None


def _port(said: str) -> int:
    """Return the port that ~/.ssh/config gives, by its number or, as for `ssh`, by its name. Raises FileError."""
    if said.isascii() and said.isdigit() and 0 < int(said) < 65536:
        return int(said)
    try:
        return socket.getservbyname(said, "tcp")
    except (OSError, ValueError):
        path = _home("config")
        wanted = re.compile(rf"port[\s=]+[\"]?{re.escape(said)}\b", re.IGNORECASE)
        line = next((number for number, text in _lines(path) if wanted.match(text)), None)
        raise FileError([f"{_place(path, line)}: `{said}` is no port"], hint="a number from 1 to 65535") from None


def _as_ssh(address: str, port: int, user: str, options: SshOptions) -> str:
    """Return the command that logs in as drillctl does, for a person to try."""
    own = ["-i", str(options.key), "-o", "IdentitiesOnly=yes"] if options.key else []
    if options.known_hosts:
        own += ["-o", f"UserKnownHostsFile={options.known_hosts}"]
    return shlex.join(["ssh", *own, "-p", str(port), f"{user}@{address}", "true"])


def is_file(path: Path) -> bool:
    """Tell whether a file is there, as far as this user can see."""
    try:
        return path.is_file()
    except OSError:
        return False


def _home(name: str) -> Path:
    """Return a file of the user's own ~/.ssh."""
    return Path("~/.ssh", name).expanduser()


def _lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a file, stripped, each with its number."""
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1)]


def _place(path: Path, line: int | None) -> str:
    return str(path) if line is None else f"{path}:{line}:1"


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
