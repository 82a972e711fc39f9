"""This machine as a host: for when drillctl runs on the gateway itself, and for tests without sshd."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess

from drillctl.errors import Unreachable
from drillctl.hosts.transport import Transport


class LocalTransport(Transport):
    """Runs commands in a shell of this machine, each in a process group of its own."""

    def __init__(self, host: str, *, sudo: bool = False) -> None:
        self.host = host
        self.privileged_prefix = ("sudo", "-n", "--") if sudo else ()

    def execute(self, command: str, stdin: bytes, timeout: float) -> tuple[int, bytes, bytes]:
        with subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            try:
                out, err = process.communicate(stdin, timeout)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise Unreachable(
                    f"no end of `{command if len(command) <= 60 else command[:57] + '…'}` within {timeout:g} s",
                    host=self.host,
                    state="it was killed",
                ) from None
        # As a shell reports it: 128 and the signal.
        code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        return code, out, err

    def open_tcp(self, address: str, port: int, timeout: float) -> socket.socket:
        try:
            wire = socket.create_connection((address, port), timeout)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise Unreachable(f"{address}:{port} could not be reached ({reason})", host=self.host) from None
        # As sshd does for what it forwards: a small piece is not held back until the one before was acknowledged.
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return wire

    def host_key(self) -> str:
        return "local"

    def alive(self, timeout: float = 5.0) -> bool:  # noqa: ARG002 - this machine needs no time to answer
        return True

    def close(self) -> None:
        pass
