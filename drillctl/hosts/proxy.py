"""The way to a host behind another: the program that ~/.ssh/config names, or the one that its jump hosts amount to."""

from __future__ import annotations

import shlex
import socket
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Proxy:
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
        """End the program, and with it the connection."""
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
