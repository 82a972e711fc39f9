"""This machine as a host: the same promises as over SSH, without a connection to lose."""

from __future__ import annotations

import os
import signal
import socket
import time

import pytest

from drillctl.errors import CommandFailed, Unreachable
from drillctl.hosts import http
from drillctl.hosts.local import LocalTransport

MIB = 1 << 20


@pytest.fixture
def local() -> LocalTransport:
    return LocalTransport("here")


def test_exit_codes_streams_and_input(local: LocalTransport) -> None:
    done = local.run(["sh", "-c", "cat; echo err >&2; exit 7"], stdin=b"in", check=False)
    assert (done.exit_code, done.stdout, done.stderr) == (7, b"in", b"err\n")


def test_much_on_all_three_streams(local: LocalTransport) -> None:
    done = local.script("shouting", 'head -c "$1" /dev/zero >&2 & cat; wait', str(10 * MIB), stdin=bytes(3 * MIB))
    assert (len(done.stdout), len(done.stderr)) == (3 * MIB, 10 * MIB)


def test_a_signal_is_told_as_a_shell_does(local: LocalTransport) -> None:
    with pytest.raises(CommandFailed, match="ended with exit code 137"):
        local.run(["sh", "-c", "kill -9 $$"])


def test_a_command_that_takes_too_long_is_ended_with_its_children(local: LocalTransport) -> None:
    begun = time.monotonic()
    with pytest.raises(Unreachable, match=r"no end of `sh -c 'sleep 604 & sleep 604'` within 0.3 s") as caught:
        local.run(["sh", "-c", "sleep 604 & sleep 604"], timeout=0.3)
    assert time.monotonic() - begun < 5
    assert caught.value.state == "it was killed"
    left = local.script("looking", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '", check=False).text
    assert "sleep 604" not in left


def test_a_port_that_nothing_listens_on_is_told(local: LocalTransport) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(Unreachable, match=f"127.0.0.1:{port} could not be reached \\(Connection refused\\)"):
            http.request(local, "127.0.0.1", port, "/")


def test_sudo_goes_before_privileged_commands_alone(local: LocalTransport) -> None:
    with_sudo = LocalTransport("here", sudo=True)
    assert with_sudo.privileged_prefix == ("sudo", "-n", "--")
    assert with_sudo.run(["echo", "plain"]).text == "plain"
    assert local.privileged_prefix == ()


def test_a_child_left_in_the_background_can_be_left(local: LocalTransport) -> None:
    done = local.script("leaving a child", "sleep 600 > /dev/null 2>&1 & echo $!")
    os.kill(int(done.text), signal.SIGKILL)
    assert local.alive()
