"""What is written into a machine of the lab before it boots, over what it shares with the machine below (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drillctl.inventory import Haproxy, NginxPassive
from drillctl.lab import haproxyfiles, nginxfiles
from drillctl.lab.estate import GATEWAY, SERVICE_PORT, ZONES, zone_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from drillctl.inventory import Gateway
    from drillctl.lab.sources import Project
    from drillctl.lab.sshfiles import KeyPair

NETWORK = "198.18.77"
"""198.18.0.0/15 is set aside for tests of networks (RFC 2544): nobody's machines are there."""
BELOW = f"{NETWORK}.1"
PREFIX = 24
ADDRESSES = {GATEWAY: f"{NETWORK}.10", **{zone.host: f"{NETWORK}.{11 + n}" for n, zone in enumerate(ZONES)}}

MODEL_FOLDER = "srv/model"
USER = "drill"
"""Whom drillctl logs in as on a machine: nobody that may do more than the programs installed for it."""
UID = 2950
HOME = f"home/{USER}"
SERVICE_UNIT = "inference.service"
CONFIG = "/etc/nginx/conf.d/recognition.conf"
HAPROXY_FOLDER = "/etc/haproxy"
ACCESS_LOG = "/var/log/nginx/recognition.access.log"

CLEARED = (
    # Units, generators and timers that the machine below was given: none of them is the lab's.
    "etc/systemd/system",
    "etc/systemd/network",
    "etc/systemd/user",
    "etc/systemd/system-generators",
    "etc/systemd/journald.conf.d",
    "etc/ssh",
    "etc/sudoers.d",
    "etc/nginx/conf.d",
    "etc/nginx/sites-enabled",
    "etc/nginx/modules-enabled",
    "var/log/journal",
    "var/log/nginx",
    "var/lib/systemd/timers",
    "usr/local/libexec/drillctl",
    "var/lib/drillctl",
    HOME,
    MODEL_FOLDER,
)
"""Folders that start empty: what the machine below has there is not seen."""

REMOVED = (
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "etc/default/ssh",
    "etc/resolv.conf",
    # A shell that sshd starts reads these: what an owner set up for terminals would slow down every command.
    *(
        f"root/{name}"
        for name in (".bashrc", ".bash_profile", ".bash_login", ".profile", ".ssh/rc", ".ssh/environment")
    ),
    # Logins do without logind (UsePAM no); a reboot asks for it, and it is then started.
    "usr/lib/systemd/system/multi-user.target.wants/systemd-logind.service",
)
"""Files that a host must not share with the machine below, or does without."""

MASKED = (
    "console-getty.service",
    "getty.target",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-modules-load.service",
    "systemd-network-generator.service",
    "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-random-seed.service",
    "systemd-repart.service",
    "systemd-resolved.service",
    "systemd-sysctl.service",
    "systemd-sysusers.service",
    "systemd-timesyncd.service",
    "systemd-update-done.service",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-userdbd.socket",
    "ldconfig.service",
    "modprobe@.service",
    "kmod-static-nodes.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "var-lib-machines.mount",
    "remote-fs.target",
)
"""Units that a boot would start from the distribution's own folder and that a host of the lab has no use for."""

HARDENING = """\
DynamicUser=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
UMask=0077
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
"""
"""What confines a server: the lines of `deploy/inference.service`, which says why. Drills prove that it serves."""


SUDOERS = """\
Defaults env_reset
Defaults secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
root ALL = (ALL:ALL) ALL
@includedir /etc/sudoers.d
"""
"""/etc/sudoers as Debian ships it, but for its group of administrators: nobody is in it here."""

SSH_WITHOUT = (
    "X11Forwarding no",
    "AllowAgentForwarding no",
    "AllowStreamLocalForwarding no",
    "PermitTunnel no",
)
"""What drillctl needs of an sshd is a login by key, commands, and TCP forwarding; none of these."""

PAM_OF_SUDO = """\
auth required pam_deny.so
account required pam_permit.so
session required pam_permit.so
"""
"""There are no passwords, and what the machine below asks for at each sudo (a directory, say) is not there."""


@dataclass(frozen=True)
class HostFiles:
    """Files by path (without the leading slash) with content and mode, and symbolic links with their targets."""

    files: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Below:
    """What must be known of the machine below: folders of units and generators, and names that differ."""

    units: Mapping[str, str]
    """Where the distribution keeps the unit of a name: `ssh.service` → `/usr/lib/systemd/system/ssh.service`."""
    generators: tuple[str, ...]
    nginx_user: str
    shell: str
    passwd: str
    group: str
    shadow: str
    sshd_config: str


def files_of(
    host: str,
    *,
    machine_id: str,
    key: KeyPair,
    login: KeyPair,
    project: Project,
    weights: str,
    sha256: str,
    below: Below,
    gateway: Gateway,
    privileges: Mapping[str, tuple[str, int]],
) -> HostFiles:
    """Return what makes a copy of the machine below into a host of the lab.

    `privileges` are the files, by path, that let the lab's user do what drillctl needs root for.
    """
    sshd = "ssh.service" if "ssh.service" in below.units else "sshd.service"
    enabled = [sshd, "systemd-networkd.service"]
    files: dict[str, tuple[bytes, int]] = {
        "etc/hostname": (f"{host}\n".encode(), 0o644),
        "etc/machine-id": (f"{machine_id}\n".encode(), 0o444),
        "etc/hosts": (_hosts(host).encode(), 0o644),
        "etc/fstab": (b"", 0o644),
        "etc/passwd": (_passwd(below.passwd, below.shell).encode(), 0o644),
        "etc/group": (_with_line(below.group, f"{USER}:x:{UID}:").encode(), 0o644),
        "etc/shadow": (_shadow(_with_line(below.shadow, f"{USER}:*:19000:0:99999:7:::")).encode(), 0o640),
        "etc/sudoers": (SUDOERS.encode(), 0o440),
        "etc/pam.d/sudo": (PAM_OF_SUDO.encode(), 0o644),
        "etc/ssh/sshd_config": (below.sshd_config.encode(), 0o644),
        "etc/ssh/ssh_host_ed25519_key": (key.private, 0o600),
        "etc/ssh/ssh_host_ed25519_key.pub": (key.public, 0o644),
        f"etc/ssh/authorized_keys/{USER}": (login.public, 0o644),
        "etc/systemd/journald.conf": (b"[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\n", 0o644),
        "etc/systemd/network/10-lab.network": (_network(ADDRESSES[host]).encode(), 0o644),
        "var/log/journal/.keep": (b"", 0o644),
    }
    files |= {path.removeprefix("/"): (text.encode(), mode) for path, (text, mode) in privileges.items()}
    if host == GATEWAY:
        enabled.append("haproxy.service" if isinstance(gateway, Haproxy) else "nginx.service")
        files |= _gateway_files(gateway, below)
    else:
        unit = service_unit(host, project, weights, sha256, queue_wait=isinstance(gateway, NginxPassive))
        files[f"etc/systemd/system/{SERVICE_UNIT}"] = (unit.encode(), 0o644)
    wants = "etc/systemd/system/multi-user.target.wants"
    links = {f"{wants}/{unit}": below.units[unit] for unit in enabled}
    links["etc/systemd/system/default.target"] = below.units["multi-user.target"]
    links |= {f"etc/systemd/system/{unit}": "/dev/null" for unit in MASKED}
    links |= {f"etc/systemd/system-generators/{name}": "/dev/null" for name in below.generators}
    return HostFiles(files, links)


def _gateway_files(gateway: Gateway, below: Below) -> dict[str, tuple[bytes, int]]:
    """Return the config of the gateway's server, whatever kind it is."""
    addresses = {zone.host: f"{ADDRESSES[zone.host]}:{SERVICE_PORT}" for zone in ZONES}
    if isinstance(gateway, Haproxy):
        text = haproxyfiles.config(
            listen=":80",
            addresses=addresses,
            folder=HAPROXY_FOLDER,
            socket=gateway.socket,
            state_file=gateway.state_file,
            user="haproxy",
        )
        return {
            gateway.config.removeprefix("/"): (text.encode(), 0o644),
            f"{HAPROXY_FOLDER}/fallback.http".removeprefix("/"): (haproxyfiles.fallback().encode(), 0o644),
            "var/lib/haproxy/.keep": (b"", 0o644),
            "etc/default/haproxy": (b"", 0o644),
        }
    primary, standby = (addresses[zone.host] for zone in ZONES)
    return {
        "etc/nginx/nginx.conf": (nginxfiles.main_of_machine(user=below.nginx_user).encode(), 0o644),
        gateway.config.removeprefix("/"): (
            nginxfiles.adopted(gateway, listen="80", primary=primary, standby=standby),
            0o644,
        ),
        "var/log/nginx/.keep": (b"", 0o644),
    }


def service_unit(host: str, project: Project, weights: str, sha256: str, *, queue_wait: bool = False) -> str:
    """Return the unit of a zone host's server. It is neither enabled nor started: that is drillctl's business.

    `queue_wait`: it refuses before a passive gateway gives the zone up.
    systemd starts it again when it dies, as it would in production; a fault has to hold against that.
    """
    zone = zone_of(host)
    name, role = (zone.name, zone.service_name) if zone else (host, host)
    environment = {
        "SERVICE_NAME": role,
        "ZONE": name,
        "NODE_NAME": host,
        "HOST": "0.0.0.0",  # noqa: S104 - the gateway is another host
        "PORT": str(SERVICE_PORT),
        "MODEL_PATH": f"/{MODEL_FOLDER}/{weights}",
        "MODEL_SHA256": sha256,
        "PYTHONUNBUFFERED": "1",
        **({"QUEUE_WAIT_MS": "500"} if queue_wait else {}),
    }
    lines = "\n".join(f"Environment={_word(f'{key}={value}')}" for key, value in environment.items())
    return f"""\
[Unit]
Description=Image recognition, {role} in {name}
After=network.target

[Service]
Type=exec
WorkingDirectory={str(project.root).replace("%", "%%")}
{lines}
ExecStart={_word(str(project.python))} -m inference serve
Restart=on-failure
RestartSec=1s
TimeoutStopSec=15s
{HARDENING}
[Install]
WantedBy=multi-user.target
"""


def _word(text: str) -> str:
    """Return one word of a unit file: quoted, and without meaning for systemd (systemd.service(5), quoting)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _hosts(host: str) -> str:
    lines = ["127.0.0.1 localhost", f"127.0.1.1 {host}", *(f"{address} {name}" for name, address in _others(host))]
    return "\n".join(lines) + "\n"


def _others(host: str) -> Iterable[tuple[str, str]]:
    return ((name, address) for name, address in ADDRESSES.items() if name != host)


def _network(address: str) -> str:
    return (
        "[Match]\nName=host0\n\n[Network]\n"
        f"Address={address}/{PREFIX}\nLinkLocalAddressing=no\nIPv6AcceptRA=no\nLLDP=no\n"
    )


def _passwd(below: str, shell: str) -> str:
    """Return /etc/passwd with the lab's user, and for root the shell that every system has."""
    root = f"root:x:0:0:root:/root:{shell}"
    lines = (root if line.startswith("root:") else line for line in below.splitlines())
    return _with_line("\n".join(lines), f"{USER}:x:{UID}:{UID}:drillctl:/{HOME}:/bin/sh")


def _with_line(file: str, entry: str) -> str:
    """Return a file of entries that begin with a name, with one entry more, in place of another of that name."""
    name = entry.partition(":")[0] + ":"
    return "\n".join([*(line for line in file.splitlines() if not line.startswith(name)), entry]) + "\n"


def _shadow(below: str) -> str:
    """Return /etc/shadow with no password but with unlocked users: without PAM, sshd refuses a locked account."""
    entries = [line.split(":") for line in below.splitlines() if line.count(":") >= 8]
    return "".join(":".join([entry[0], "*", "19000", "0", "99999", "7", "", "", ""]) + "\n" for entry in entries)
