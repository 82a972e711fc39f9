"""SSH against a real sshd: what is refused and how it is said, what arrives, and that nothing waits for ever."""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from typing import TYPE_CHECKING

import paramiko
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drillctl.errors import CommandFailed, ConnectionLost, Unreachable
from drillctl.hosts.fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Sshd
    from paramiko.message import Message

    from drillctl.hosts.ssh import SshTransport
    from drillctl.inventory import Inventory

MIB = 1 << 20
DATA, END_OF_INPUT = b"\x5e", b"\x60"
"""Numbers of SSH's messages (RFC 4254, section 9)."""

WORDS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=30), max_size=5)
AWKWARD = [
    "",
    " ",
    "a b",
    "it's",
    '"',
    "$(id)",
    "`id`",
    "$HOME",
    "a\nb",
    "\n",
    "-n",
    "--",
    "*",
    "\\",
    "\t",
    "#",
    "世界",
    "!!",
]


# ---- commands


@pytest.fixture(params=["cold", "warm"])
def either(host: SshTransport, request: pytest.FixtureRequest) -> SshTransport:
    """A login whose first command finds a channel that was prepared, or none."""
    if request.param == "warm":
        host.warm(1)
    return host


def test_exit_codes_and_both_streams_come_back(either: SshTransport) -> None:
    done = either.run(["sh", "-c", "echo out; echo err >&2; exit 7"], check=False)
    assert (done.exit_code, done.stdout, done.stderr) == (7, b"out\n", b"err\n")
    assert done.text == "out"
    assert done.complaint == "err"
    assert 0 < done.seconds < 5


def test_a_failed_command_is_told_with_host_words_code_and_last_line(either: SshTransport) -> None:
    with pytest.raises(CommandFailed) as caught:
        either.run(["sh", "-c", "echo first >&2; echo last >&2; exit 3"])
    assert str(caught.value) == ("host-1: `sh -c 'echo first >&2; echo last >&2; exit 3'` ended with exit code 3: last")


def test_a_command_that_is_not_there_is_told(either: SshTransport) -> None:
    with pytest.raises(CommandFailed, match=r"ended with exit code 127: .*not found"):
        either.run(["no-such-program"])


def test_a_command_that_a_signal_kills_has_failed_and_the_connection_lives(either: SshTransport) -> None:
    with pytest.raises(CommandFailed, match=r"-1: `sh -c '.*'` (was killed by a signal|ended with exit code 137)"):
        either.run(["sh", "-c", "kill -9 $$"])
    assert either.alive()


def test_ten_megabytes_on_both_streams_at_once(either: SshTransport) -> None:
    done = either.script(
        "shouting", 'head -c "$1" /dev/zero >&2 & head -c "$1" /dev/zero; wait', str(10 * MIB), timeout=60
    )
    assert (len(done.stdout), len(done.stderr)) == (10 * MIB, 10 * MIB)


def test_three_megabytes_of_input_come_back_through_cat(either: SshTransport) -> None:
    content = os.urandom(3 * MIB)
    assert either.run(["cat"], stdin=content, timeout=60).stdout == content


def test_a_command_that_does_not_read_its_input_still_ends(either: SshTransport) -> None:
    assert either.run(["true"], stdin=bytes(3 * MIB), timeout=20).exit_code == 0


def test_a_command_without_input_sees_its_end(either: SshTransport) -> None:
    assert either.run(["cat"], timeout=10).stdout == b""


def test_a_command_that_takes_too_long_is_given_up_and_the_connection_still_works(either: SshTransport) -> None:
    begun = time.monotonic()
    with pytest.raises(Unreachable, match=r"no end of `sleep 30` within 0.5 s") as caught:
        either.run(["sleep", "30"], timeout=0.5)
    assert time.monotonic() - begun < 3
    assert caught.value.state == "the command may still be running there"
    assert either.run(["echo", "still here"]).text == "still here"


def test_a_child_in_the_background_does_not_hold_the_answer_back(either: SshTransport) -> None:
    begun = time.monotonic()
    done = either.script("leaving a child", "sleep 60 & echo $!")
    assert time.monotonic() - begun < 5
    os.kill(int(done.text), signal.SIGKILL)


@pytest.mark.parametrize("word", AWKWARD)
def test_awkward_words_arrive_unharmed(either: SshTransport, word: str) -> None:
    assert either.run(["printf", "%s\\0", word]).stdout == word.encode() + b"\0"


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WORDS)
def test_any_words_arrive_unharmed_and_the_same_over_a_warm_channel(host: SshTransport, words: list[str]) -> None:
    sent = "".join(f"{word}\0" for word in words or [""]).encode()
    assert host.run(["printf", "%s\\0", *words]).stdout == sent
    host.warm(1)
    assert host.run(["printf", "%s\\0", *words]).stdout == sent


def test_arguments_of_a_script_are_not_read_as_its_text(either: SshTransport) -> None:
    done = either.script("echoing", 'printf "%s|" "$@"', "$(id)", "; echo no", "'", "")
    assert done.text == "$(id)|; echo no|'||"


def test_warm_channels_are_used_up_one_by_one(host: SshTransport) -> None:
    host.warm(3)
    parents = {host.run(["sh", "-c", "echo $PPID"]).text for _ in range(4)}
    assert len(parents) == 4, "each command has a shell of its own"


def test_commands_may_run_side_by_side(host: SshTransport) -> None:
    host.warm(2)
    found: dict[int, str] = {}

    def run(number: int) -> None:
        found[number] = host.run(["sh", "-c", f"sleep 0.3; echo {number}"]).text

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: str(number) for number in range(6)}
    assert time.monotonic() - begun < 1.7


# ---- losing the host


def test_a_command_that_ends_as_its_input_does_costs_no_connection(
    host: SshTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that says so is kept off its core until the command has ended and its channel would be closed."""
    send = paramiko.Transport._send_user_message

    def late(self: paramiko.Transport, message: Message) -> None:
        if threading.current_thread() is threading.main_thread() and message.asbytes()[:1] in {DATA, END_OF_INPUT}:
            time.sleep(0.3)
        send(self, message)

    monkeypatch.setattr(paramiko.Transport, "_send_user_message", late)
    for stdin in (b"", b"not read"):
        assert host.run(["true"], stdin=stdin).exit_code == 0
        time.sleep(0.1)
        assert host.connected


def test_a_connection_lost_in_the_middle_of_a_command_is_told(make_sshd: Callable[..., Sshd]) -> None:
    server = make_sshd()
    transport = server.connect()

    def cut() -> None:
        time.sleep(0.3)
        for session in server.sessions():
            session.send(signal.SIGKILL)

    thread = threading.Thread(target=cut)
    thread.start()
    begun = time.monotonic()
    with pytest.raises(ConnectionLost, match="the connection was lost while a command ran") as caught:
        transport.run(["sleep", "30"])
    thread.join()
    assert time.monotonic() - begun < 5
    assert caught.value.host == "host-1"
    assert not transport.alive()
    with pytest.raises(ConnectionLost, match="the connection is closed"):
        transport.run(["true"])
    with pytest.raises(ConnectionLost, match=r"the connection is closed|no channel could be opened"):
        transport.warm(1)
    transport.close()
    transport.close()


def test_a_frozen_host_is_not_alive_though_its_connection_is_open(make_sshd: Callable[..., Sshd]) -> None:
    server = make_sshd()
    transport = server.connect()
    transport.warm(2)
    assert transport.alive(5)
    frozen = server.sessions()
    for session in frozen:
        session.send(signal.SIGSTOP)
    begun = time.monotonic()
    assert not transport.alive(1.0), "over a channel that was opened before"
    assert not transport.alive(1.0), "over a channel that must be opened"
    assert time.monotonic() - begun < 5
    with pytest.raises(Unreachable, match=r"no end of `true` within 1 s|the connection was lost"):
        transport.run(["true"], timeout=1)
    for session in frozen:
        session.send(signal.SIGCONT)
    assert transport.alive(5)
    transport.close()


def test_a_host_that_was_given_up_keeps_nobody_waiting(make_sshd: Callable[..., Sshd], estate: Inventory) -> None:
    server = make_sshd()
    transport = server.connect()
    frozen = server.sessions()
    for session in frozen:
        session.send(signal.SIGSTOP)
    fleet = Fleet(estate, {"host-1": transport})
    thread = threading.Timer(0.5, fleet.hang_up, ["host-1"])
    begun = time.monotonic()
    thread.start()
    with pytest.raises(ConnectionLost, match="connection"):
        transport.beside().run(["sleep", "20"], timeout=20)
    thread.join()
    assert time.monotonic() - begun < 5
    assert fleet.lost == {"host-1"}
    with pytest.raises(ConnectionLost, match="the connection is closed"):
        transport.run(["true"])
    for session in frozen:
        session.send(signal.SIGCONT)


def test_a_host_whose_connection_was_lost_is_logged_in_to_again(sshd: Sshd, estate: Inventory) -> None:
    transport = sshd.connect()
    assert transport.connected
    fleet = Fleet(estate, {"host-1": transport})
    fleet.hang_up("host-1")
    assert not transport.connected
    assert fleet.reconnect(["host-1"], 10) == {"host-1": True}
    assert fleet.lost == set()
    assert transport.run(["echo", "here"]).text == "here"
    transport.close()


def test_a_host_that_is_frozen_is_not_waited_for_longer_than_wanted(
    make_sshd: Callable[..., Sshd], estate: Inventory
) -> None:
    sshd = make_sshd()
    transport = sshd.connect()
    fleet = Fleet(estate, {"host-1": transport})
    fleet.hang_up("host-1")
    os.kill(sshd.pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        assert fleet.reconnect(["host-1"], 1.0) == {"host-1": False}
        assert time.monotonic() - begun < 2
        assert fleet.lost == {"host-1"}
    finally:
        os.kill(sshd.pid, signal.SIGCONT)
    # The login goes on, and the host can be used from when it succeeds.
    deadline = time.monotonic() + 15
    while fleet.lost and time.monotonic() < deadline:
        time.sleep(0.05)
    assert transport.run(["echo", "here"]).text == "here"
    transport.close()


# ---- files


def test_a_file_is_replaced_with_its_mode_owner_and_link_kept(host: SshTransport, tmp_path: Path) -> None:
    real = tmp_path / "real.conf"
    real.write_text("old")
    real.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(real, 12345, 23456)
    link = tmp_path / "enabled" / "it's a link.conf"
    link.parent.mkdir()
    link.symlink_to(real)
    before = real.stat()
    content = b"new\r\n\0\xff" * 1000
    host.replace_file(str(link), content)
    after = real.stat()
    assert link.is_symlink()
    assert real.read_bytes() == content
    assert host.read_file(str(link)) == content
    assert (stat.S_IMODE(after.st_mode), after.st_uid, after.st_gid) == (0o640, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino, "renamed over, not written into"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["enabled", "it's a link.conf", "real.conf"]


@pytest.mark.parametrize("name", ["missing.conf", "folder", "dangling"])
def test_what_is_no_file_is_not_replaced(host: SshTransport, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(CommandFailed, match=rf"replacing .*{name} ended with exit code 1: .*{name} is not a file"):
        host.replace_file(str(tmp_path / name), b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "folder"]


def test_a_replacement_that_fails_leaves_the_old_file_and_nothing_beside_it(host: SshTransport, tmp_path: Path) -> None:
    file = tmp_path / "real.conf"
    file.write_text("old")
    # The copy fails for want of room, as on a full disk.
    with pytest.raises(CommandFailed, match="replacing it ended with exit code"):
        host.script(
            "replacing it",
            f'ulimit -f 1 2>/dev/null; exec sh -c {_quoted(_replace())} drillctl "$1"',
            str(file),
            stdin=bytes(MIB),
        )
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["real.conf"]


def _replace() -> str:
    from drillctl.hosts import transport

    return transport._REPLACE


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)


def test_a_file_that_cannot_be_read_is_told(host: SshTransport, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="No such file or directory"):
        host.read_file(str(tmp_path / "-rf"))
