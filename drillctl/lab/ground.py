"""What the machine below the lab has: programs, packages, and whether it lets a lab have machines of its own."""

from __future__ import annotations

import os
import shutil
import subprocess

from drillctl.errors import NotStarted

_SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"

PACKAGES = {
    "systemd-nspawn": "systemd-container",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "nginx": "nginx",
    "haproxy": "haproxy",
    "ip": "iproute2",
    "nft": "nftables",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "sudo": "sudo",
}
"""The package of Debian and Ubuntu that each program comes from."""

FOR_MACHINES = tuple(PACKAGES)
FOR_PROCESSES = ("sshd", "ssh", "ssh-keygen", "nginx")
"""With a gateway of the kind `haproxy`, that program as well."""

_TRIAL = """
set -eu
mount -n -t tmpfs trial /run
mkdir /run/upper /run/work /run/root
mount -n -t overlay trial -o lowerdir=/,upperdir=/run/upper,workdir=/run/work /run/root
mount -n -t cgroup2 trial /sys/fs/cgroup
ip link add trial type bridge
"""
"""Each thing a lab with machines needs from the kernel, in namespaces that vanish with the trial."""


def program(name: str) -> str | None:
    """Return where a program is, also when it is in a folder that only root has in PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SYSTEM_FOLDERS}")


def required(name: str) -> str:
    """Return where a program is. Raises NotStarted with the command that installs it."""
    path = program(name)
    if path is None:
        raise lacking((name,))
    return path


def missing(programs: tuple[str, ...]) -> tuple[str, ...]:
    """Return those programs that are not installed."""
    return tuple(name for name in programs if program(name) is None)


def lacking(programs: tuple[str, ...]) -> NotStarted:
    """Return the error that says which programs are not installed and how to get them."""
    packages = sorted({PACKAGES[name] for name in programs})
    return NotStarted(
        f"the lab needs {', '.join(programs)}, which this machine does not have",
        hint=f"install them: {'' if os.geteuid() == 0 else 'sudo '}apt-get install -y --no-install-recommends "
        + " ".join(packages),
        state="nothing was changed",
    )


def obstacle() -> str | None:
    """Return why this machine lets the lab have no machines of its own; None when it does."""
    if os.geteuid() != 0:
        return "it needs root"
    trial = subprocess.run(
        [required("unshare"), "--mount", "--net", "--propagation", "private", "/bin/sh", "-c", _TRIAL],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=20,
    )
    if trial.returncode == 0:
        return None
    said = trial.stderr.decode("utf-8", "replace").strip().splitlines()
    return "the kernel or container refuses: " + (said[-1] if said else f"exit code {trial.returncode}")


def openssh_version() -> tuple[int, int]:
    """Return the version of OpenSSH as (major, minor); (0, 0) when it cannot be told."""
    told = subprocess.run([required("ssh"), "-V"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    words = (told.stderr + told.stdout).decode("utf-8", "replace").removeprefix("OpenSSH_")
    number = words.split("p", 1)[0].split(" ", 1)[0].split(".")
    return (int(number[0]), int(number[1])) if len(number) == 2 and all(map(str.isdigit, number)) else (0, 0)
