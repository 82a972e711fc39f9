"""The service as a process, for real: only its own session is ever touched, and a kill is proven or it is none."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from drillctl.errors import CommandFailed
from drillctl.hosts import process, systemd
from drillctl.hosts.local import LocalTransport
from drillctl.hosts.process import ProcessService, commands
from drillctl.hosts.service import Killed, parse_proof
from drillctl.hosts.transport import Completed
from drillctl.inventory import ProcessStart
from drillctl.lab.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import SmallService

    from drillctl.hosts.ssh import SshTransport


def ask(service: SmallService) -> tuple[int, int, str]:
    """Return the server's pid, its child's pid and the token that it was given."""
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/", timeout=5) as reply:
        pid, child, token = reply.read().decode().split(" ", 2)
    return int(pid), int(child), token


def started(service: SmallService) -> tuple[int, int, str]:
    service.manager.start()
    service.wait_until_it_answers()
    return ask(service)


def alive(pid: int) -> bool:
    return Process.of(pid) is not None


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with the service, in a session of its own."""
    running = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield running
    running.kill()
    running.wait()


def test_the_whole_life_of_a_service(service: SmallService) -> None:
    assert not service.manager.state().running
    pid, child, _ = started(service)
    state = service.manager.state()
    assert state.running
    assert set(state.pids) == {pid, child}
    assert not state.held
    assert str(service.pidfile) in state.detail

    killed = service.manager.kill()
    assert killed.proven
    assert set(killed.pids) == {pid, child}
    assert (killed.remaining, killed.port_open) == ((), False)
    assert not service.manager.state().running
    assert not alive(pid)
    assert not alive(child), "a child of the session is killed, too"

    service.manager.revive()
    service.wait_until_it_answers()
    again, child_again, _ = ask(service)
    assert again != pid

    service.manager.stop()
    assert not service.manager.state().running
    assert not alive(again)
    assert not alive(child_again)
    assert not service.pidfile.exists()
    service.manager.stop()


def test_all_of_it_over_ssh(host: SshTransport, make_service: Callable[..., SmallService]) -> None:
    service = make_service(host)
    pid, _, token = started(service)
    assert token == service.environment["API_TOKEN"]
    host.warm(1)
    assert service.manager.kill().proven
    assert not alive(pid)


def test_starting_twice_starts_one(service: SmallService) -> None:
    pid, _, _ = started(service)
    service.manager.start()
    service.manager.revive()
    assert ask(service)[0] == pid


def test_it_leads_a_session_of_its_own_and_outlives_the_one_who_started_it(service: SmallService) -> None:
    pid, child, _ = started(service)
    assert os.getsid(pid) == pid
    assert os.getsid(child) == pid


def test_the_environment_arrives_unharmed_and_nobody_can_read_it_in_the_arguments(service: SmallService) -> None:
    pid, _, token = started(service)
    assert token == "s3cret $(id) 'x'"
    assert b"s3cret" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_starting_puts_no_value_into_the_arguments_of_any_process(make_service: Callable[..., SmallService]) -> None:
    """What the host's shell is told to run is all that `ps` can show while the service starts."""
    commands: list[str] = []

    class Listening(LocalTransport):
        def execute(self, command: str, stdin: bytes, timeout: float) -> tuple[int, bytes, bytes]:
            commands.append(command)
            return super().execute(command, stdin, timeout)

    started(make_service(Listening("host-1")))
    assert commands
    assert not any("s3cret" in command for command in commands)


# ---- the pidfile


def test_the_pidfile_holds_pid_and_start_time(service: SmallService) -> None:
    pid, _, _ = started(service)
    mine = Process.of(pid)
    assert mine is not None
    assert service.pidfile.read_text() == f"{mine.pid} {mine.started}\n"


def test_a_recycled_pid_is_not_killed(service: SmallService, bystander: subprocess.Popen[bytes]) -> None:
    stranger = Process.of(bystander.pid)
    assert stranger is not None
    service.pidfile.parent.mkdir()
    service.pidfile.write_text(f"{stranger.pid} {stranger.started - 1}\n")
    assert not service.manager.state().running
    killed = service.manager.kill()
    assert killed.pids == ()
    assert not killed.proven
    service.manager.stop()
    assert bystander.poll() is None
    # The same file with the right time means that process: the check above could have failed.
    service.pidfile.write_text(f"{stranger.pid} {stranger.started}\n")
    assert service.manager.state().pids == (stranger.pid,)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{pid}\n", "holds no start time: it was not written by drillctl"),
        ("{pid} soon\n", "holds no start time: it was not written by drillctl"),
        ("nginx: master process\n", "does not hold a pid"),
        ("-1 {started}\n", "does not hold a pid"),
        ("-{pid} {started}\n", "does not hold a pid"),
    ],
)
@pytest.mark.parametrize("action", ["state", "start", "stop", "kill"])
def test_a_pidfile_that_is_not_ours_is_refused(
    service: SmallService, bystander: subprocess.Popen[bytes], content: str, complaint: str, action: str
) -> None:
    stranger = Process.of(bystander.pid)
    assert stranger is not None
    service.pidfile.parent.mkdir()
    service.pidfile.write_text(content.format(pid=stranger.pid, started=stranger.started))
    before = service.pidfile.read_text()
    with pytest.raises(CommandFailed, match=rf"exit code 3: .*{complaint}"):
        getattr(service.manager, action)()
    assert bystander.poll() is None
    assert service.pidfile.read_text() == before


def test_an_empty_pidfile_names_nobody(service: SmallService) -> None:
    service.pidfile.parent.mkdir()
    service.pidfile.touch()
    assert not service.manager.state().running
    started(service)


def test_a_service_that_died_is_started_anew_and_its_zombies_do_not_count(service: SmallService) -> None:
    pid, child, _ = started(service)
    os.kill(child, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while (alive(pid) or alive(child)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not service.manager.state().running
    assert started(service)[0] != pid


# ---- proof


def test_a_kill_of_nothing_is_not_proven(service: SmallService) -> None:
    killed = service.manager.kill()
    assert (killed.pids, killed.remaining, killed.port_open) == ((), (), False)
    assert not killed.proven


def test_a_port_that_a_stranger_holds_open_is_not_proven_closed(
    make_service: Callable[..., SmallService], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that listens nowhere itself, and another program at its port: clients would still be answered."""
    monkeypatch.setattr(process, "_KILL", process._KILL.replace("limit=500", "limit=20"))
    service = make_service(command=["-c", "import time; time.sleep(600)"])
    with socket.create_server(("127.0.0.1", service.port)):
        service.manager.start()
        killed = service.manager.kill()
    assert 0.2 <= killed.seconds < 2, "it was given its time to close, by the clock"
    assert killed.pids
    assert killed.remaining == ()
    assert killed.port_open
    assert not killed.proven


def test_the_same_port_of_another_address_does_not_matter(service: SmallService) -> None:
    with socket.create_server(("127.0.0.2", service.port)):
        started(service)
        assert service.manager.kill().proven


@pytest.mark.parametrize(
    ("pids", "remaining", "port_open", "proven"),
    [((1,), (), False, True), ((1,), (1,), False, False), ((1,), (), True, False), ((), (), False, False)],
)
def test_proven_means_that_something_was_hit_and_nothing_is_left(
    pids: tuple[int, ...], remaining: tuple[int, ...], port_open: bool, proven: bool
) -> None:
    assert Killed(pids, remaining, port_open, 0.1).proven is proven


def done(text: str) -> Completed:
    return Completed(("sh",), 0, text.encode(), b"", 0.25)


def test_a_proof_is_read_whatever_a_login_shell_says_before_it() -> None:
    assert parse_proof(done("Welcome!\nkilled=12 13 remaining=13 open=1\n"), "a-1") == Killed(
        (12, 13), (13,), True, 0.25
    )
    assert parse_proof(done("killed= remaining= open=0"), "a-1") == Killed((), (), False, 0.25)


@pytest.mark.parametrize("text", ["", "killed=12", "killed=x remaining= open=0", "killed=1 remaining= open=2", "ok"])
def test_what_is_no_proof_is_refused(text: str) -> None:
    with pytest.raises(CommandFailed, match="which is no proof"):
        parse_proof(done(text), "a-1")


# ---- when it does not start


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"interpreter": "/nowhere/python"}, "/nowhere/python"),
        ({"command": ["-c", "raise SystemExit('no model here')"]}, "no model here"),
        ({"working_folder": "/nowhere"}, "/nowhere"),
    ],
)
def test_what_does_not_start_says_why_and_no_value_of_its_environment(
    make_service: Callable[..., SmallService], changed: dict[str, Any], complaint: str
) -> None:
    """It may live for a moment; then the start is none of the start's business, and the log tells."""
    service = make_service(**changed)
    try:
        service.manager.start()
    except CommandFailed as error:
        said = str(error)
    else:
        wait_for_end(service)
        said = service.manager.last_words()
    assert complaint in said
    assert "s3cret" not in said


def wait_for_end(service: SmallService) -> None:
    deadline = time.monotonic() + 10
    while service.manager.state().running:
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.01)


def test_a_start_that_cannot_be_is_told_with_the_host(make_service: Callable[..., SmallService]) -> None:
    with pytest.raises(CommandFailed, match=r"starting the service ended with exit code .*/nowhere") as caught:
        make_service(working_folder="/nowhere").manager.start()
    assert caught.value.host == "host-1"
    assert "s3cret" not in str(caught.value)


def test_the_end_of_the_log_is_there_for_the_message(service: SmallService) -> None:
    service.log.write_text("".join(f"line {number}\n" for number in range(100)))
    assert service.manager.last_words(3).splitlines() == ["line 97", "line 98", "line 99"]
    service.log.unlink()
    assert service.manager.last_words() == ""


def test_without_a_log_of_its_own_it_writes_beside_the_pidfile(tmp_path: Path) -> None:
    start = ProcessStart(kind="process", command=("sh", "-c", "echo hello; exec sleep 600"), working_folder="/")
    pidfile = tmp_path / "server.pid"
    manager = ProcessService(LocalTransport("host-1"), start, port=1, environment={}, pidfile=str(pidfile), log=None)
    manager.start()
    try:
        deadline = time.monotonic() + 5
        while manager.last_words() != "hello" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert manager.last_words() == "hello"
        assert (tmp_path / "server.pid.log").exists()
    finally:
        manager.stop()


def test_a_service_that_ignores_sigterm_is_stopped_all_the_same(
    make_service: Callable[..., SmallService], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_STOP", process._STOP.replace("-lt 300", "-lt 3"))
    service = make_service(
        interpreter="/bin/sh",
        command=["-c", "trap '' TERM; while :; do sleep 1; done"],
    )
    service.manager.start()
    (pid, *_) = service.manager.state().pids
    service.manager.stop()
    assert not alive(pid)
    assert not service.manager.state().running


# ---- what a plan shows, and what runs


def test_the_plan_shows_what_is_run() -> None:
    start = ProcessStart(kind="process", command=("-m", "server"), interpreter="/opt/python", working_folder="/srv")
    assert commands(start, "/run/s.pid", "start") == ("cd /srv && setsid /opt/python -m server",)
    assert commands(start, "/run/s.pid", "revive") == commands(start, "/run/s.pid", "start")
    assert commands(start, "/run/s.pid", "kill") == ("kill -9 every process of the session in /run/s.pid",)
    assert systemd.commands("x.service", "kill") == (
        "write /run/systemd/system/x.service.d/90-drillctl-hold.conf (Restart=no)",
        "systemctl daemon-reload",
        "kill -9 every process of x.service",
    )
    assert systemd.commands("x.service", "revive") == (
        "remove /run/systemd/system/x.service.d/90-drillctl-hold.conf",
        "systemctl daemon-reload",
        "systemctl start x.service",
    )
    assert systemd.commands("x.service", "start") == ("systemctl start x.service",)
    assert systemd.commands("x.service", "stop") == ("systemctl stop x.service",)


SCRIPTS = {
    f"{module.__name__.rsplit('.', 1)[-1]} {name}": getattr(module, name)
    for module, names in ((process, ("_STATE", "_START", "_STOP", "_KILL")), (systemd, ("STATE", "KILL", "REVIVE")))
    for name in names
}
SHELLS = [shell for shell in ("dash", "busybox sh", "bash --posix", "ksh", "mksh") if shutil.which(shell.split()[0])]


@pytest.mark.parametrize("name", list(SCRIPTS))
@pytest.mark.parametrize("shell", SHELLS)
def test_every_script_is_read_by_every_shell(shell: str, name: str) -> None:
    read = subprocess.run([*shlex.split(shell), "-n", "-c", SCRIPTS[name]], capture_output=True, check=False)
    assert (read.returncode, read.stderr) == (0, b"")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_does_notice_a_broken_script(shell: str) -> None:
    read = subprocess.run([*shlex.split(shell), "-n", "-c", "if true; then"], capture_output=True, check=False)
    assert read.returncode != 0


@pytest.mark.parametrize("shell", SHELLS)
def test_the_scripts_work_the_same_in_every_shell(service: SmallService, shell: str) -> None:
    class Other(LocalTransport):
        def execute(self, command: str, stdin: bytes, timeout: float) -> tuple[int, bytes, bytes]:
            assert command.startswith(("sh -c ", "tail "))
            return super().execute(command.replace("sh -c ", f"{shell} -c ", 1), stdin, timeout)

    other: Callable[[str], LocalTransport] = Other
    service.manager._transport = other("host-1")
    pid, child, _ = started(service)
    assert set(service.manager.state().pids) == {pid, child}
    assert service.manager.kill().proven
