"""The SSH side of a lab: one login key, a key for each host, known_hosts, and the files that sshd and ssh read."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drillctl.errors import NotStarted
from drillctl.lab import ground

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LOGIN_KEY = "id_ed25519"
KNOWN_HOSTS = "known_hosts"
SSH_CONFIG = "ssh_config"


@dataclass(frozen=True)
class KeyPair:
    """An ed25519 key as OpenSSH writes it; neither part is ever printed."""

    private: bytes
    public: bytes

    def __repr__(self) -> str:
        """Keep the private part out of messages."""
        return f"KeyPair({self.public.decode(errors='replace').strip()})"


@dataclass(frozen=True)
class Login:
    """How one host is reached over SSH."""

    host: str
    address: str
    port: int
    user: str

    @property
    def known_as(self) -> str:
        """Return the host's name in known_hosts; another port than 22 is part of it (sshd(8))."""
        return self.address if self.port == 22 else f"[{self.address}]:{self.port}"


def make_key(path: Path, comment: str) -> KeyPair:
    """Make a key without passphrase at `path` (0600) and `path`.pub. Raises NotStarted with what ssh-keygen says."""
    argv = [ground.required("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        said = (done.stderr + done.stdout).decode("utf-8", "replace").strip()
        raise NotStarted(f"the lab's key {path} could not be made: {said}")
    return KeyPair(path.read_bytes(), path.with_name(path.name + ".pub").read_bytes())


def sshd_config(*, host_key: str, authorized_keys: str, pam: bool = False, extra: Iterable[str] = ()) -> str:
    """Return an sshd_config: keys only, and nothing that makes a login wait (PAM, DNS, a message of the day)."""
    lines = [
        f"HostKey {host_key}",
        f"AuthorizedKeysFile {authorized_keys}",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        f"UsePAM {'yes' if pam else 'no'}",
        "UseDNS no",
        "PrintMotd no",
        "PrintLastLog no",
        "AllowTcpForwarding yes",
        "MaxSessions 100",
        "MaxStartups 100",
        "Subsystem sftp internal-sftp",
        *extra,
    ]
    if ground.openssh_version() >= (9, 8):
        # From 9.8 on sshd makes an address wait that had failed logins: a test of refused keys would block the next.
        lines.append("PerSourcePenalties no")
    return "\n".join(lines) + "\n"


def write_client_files(folder: Path, keys: dict[Login, KeyPair]) -> None:
    """Write known_hosts and an ssh_config with which `ssh -F` reaches every host by its name."""
    known = [f"{login.known_as} {' '.join(key.public.decode().split()[:2])}" for login, key in keys.items()]
    (folder / KNOWN_HOSTS).write_text("\n".join(known) + "\n", encoding="utf-8")
    blocks = [
        f"Host {login.host}\n  HostName {login.address}\n  Port {login.port}\n  User {login.user}\n" for login in keys
    ]
    common = f"""\
Host *
  IdentityFile "{folder / LOGIN_KEY}"
  IdentitiesOnly yes
  UserKnownHostsFile "{folder / KNOWN_HOSTS}"
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  UpdateHostKeys no
  BatchMode yes
  ConnectTimeout 5
  LogLevel ERROR
"""
    (folder / SSH_CONFIG).write_text("\n".join([*blocks, common]), encoding="utf-8")
