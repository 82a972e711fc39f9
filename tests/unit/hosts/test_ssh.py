"""SSH against a real sshd: what is refused and how it is said, what arrives, and that nothing waits for ever."""

from __future__ import annotations

import os
import signal
import socket
import stat
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drillctl.errors import CommandFailed, FileError, HostError, HostKeyRefused, LoginRefused, Unreachable
from drillctl.hosts import http, ssh
from drillctl.hosts.fleet import Fleet
from drillctl.lab import sshfiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Sshd

    from drillctl.hosts.ssh import SshTransport
    from drillctl.inventory import Inventory

MIB = 1 << 20
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


# ---- logging in


def test_the_host_key_is_the_one_that_the_host_has(host: SshTransport, sshd: Sshd) -> None:
    assert host.host_key() == sshd.fingerprint
    assert host.alive()


def test_an_unknown_host_key_is_refused_with_its_fingerprint_and_what_to_do(sshd: Sshd, tmp_path: Path) -> None:
    empty = tmp_path / "known_hosts"
    empty.touch()
    with pytest.raises(HostKeyRefused, match=r"the host key of .* is unknown") as caught:
        sshd.connect(known_hosts=empty)
    assert sshd.fingerprint in caught.value.message
    assert caught.value.host == "host-1"
    assert "ssh-keygen -lf" in (caught.value.hint or "")
    assert "known_hosts" in (caught.value.hint or "")
    assert empty.read_bytes() == b"", "nothing was learnt"


def test_a_changed_host_key_is_refused_with_both_fingerprints(sshd: Sshd, tmp_path: Path) -> None:
    other = sshfiles.make_key(tmp_path / "other", "other")
    known = tmp_path / "known_hosts"
    known.write_text(sshd.known(other.public))
    with pytest.raises(HostKeyRefused, match="has CHANGED") as caught:
        sshd.connect(known_hosts=known)
    assert sshd.fingerprint in caught.value.message
    assert caught.value.message.count("SHA256:") == 2
    assert "interception" in (caught.value.hint or "")


def test_a_refused_key_is_told_with_user_and_key(sshd: Sshd, tmp_path: Path) -> None:
    sshfiles.make_key(tmp_path / "stranger", "stranger")
    with pytest.raises(LoginRefused, match="refused the login") as caught:
        sshd.connect(key=tmp_path / "stranger")
    assert f"{sshd.user}@127.0.0.1:{sshd.port}" in caught.value.message
    assert str(tmp_path / "stranger") in caught.value.message
    assert f"ssh -p {sshd.port}" in (caught.value.hint or "")


def test_a_key_that_is_not_there_or_not_a_key_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="nowhere:1:1: the SSH key of `host-1` is not there"):
        sshd.connect(key=tmp_path / "nowhere")
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
    with pytest.raises(HostError, match=r"refused the login|cannot be reached"):
        sshd.connect(key=rubbish)


def test_known_hosts_that_cannot_be_read_are_told(sshd: Sshd, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="the known_hosts file of `host-1` cannot be read: No such file"):
        sshd.connect(known_hosts=tmp_path / "nowhere")


def test_where_nobody_listens_it_is_told_at_once(sshd: Sshd) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        begun = time.monotonic()
        with pytest.raises(Unreachable, match="cannot be reached by SSH") as caught:
            sshd.connect(port=port)
    assert time.monotonic() - begun < 2
    assert f"127.0.0.1:{port}" in caught.value.message
    assert caught.value.hint == f"try `ssh -p {port} {sshd.user}@127.0.0.1 true`"


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-slow\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_a_port_that_accepts_and_does_not_speak_ssh_has_its_deadline(sshd: Sshd, greeting: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken: list[socket.socket] = []

        def greet() -> None:
            peer, _ = listener.accept()
            taken.append(peer)
            peer.sendall(greeting)

        thread = threading.Thread(target=greet)
        thread.start()
        begun = time.monotonic()
        with pytest.raises(Unreachable, match="cannot be reached by SSH"):
            sshd.connect(port=listener.getsockname()[1], connect_timeout_seconds=1.0)
        assert time.monotonic() - begun < 5
        thread.join()
        for peer in taken:
            peer.close()


def test_a_name_that_nobody_knows_is_told(sshd: Sshd) -> None:
    with pytest.raises(Unreachable, match="the name is not known"):
        ssh.connect("host-1", "no-such-host.invalid", sshd.options())


# ---- ~/.ssh/config


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home folder with an empty .ssh, and let no agent help."""
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return folder


def test_what_the_inventory_leaves_open_comes_from_the_users_ssh_config(sshd: Sshd, home: Path) -> None:
    (home / ".ssh" / "config").write_text(
        f"Host zone-a\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User {sshd.user}\n  IdentityFile {sshd.key}\n"
    )
    (home / ".ssh" / "known_hosts").write_bytes(sshd.known_hosts.read_bytes())
    bare = sshd.options(user=None, key=None, known_hosts=None, port=None)
    transport = ssh.connect("host-1", "zone-a", bare)
    assert transport.run(["whoami"]).text == sshd.user
    transport.close()


def test_the_inventory_goes_before_the_ssh_config(sshd: Sshd, home: Path) -> None:
    (home / ".ssh" / "config").write_text("Host 127.0.0.1\n  Port 1\n  User nobody\n  IdentityFile /nowhere\n")
    transport = sshd.connect()
    assert transport.run(["whoami"]).text == sshd.user
    transport.close()


def test_a_host_behind_another_is_reached_by_the_proxy_command(sshd: Sshd, home: Path) -> None:
    sshfiles.write_client_files(
        home, {sshfiles.Login("jump", "127.0.0.1", sshd.port, sshd.user): _public(sshd.folder / "host_key")}
    )
    (home / sshfiles.LOGIN_KEY).write_bytes(sshd.key.read_bytes())
    (home / sshfiles.LOGIN_KEY).chmod(0o600)
    (home / ".ssh" / "config").write_text(
        f"Host 127.0.0.1\n  ProxyCommand ssh -F {home / sshfiles.SSH_CONFIG} -W %h:{sshd.port} jump\n"
    )
    transport = sshd.connect()
    assert transport.run(["echo", "through"]).text == "through"
    through = transport._link.proxy
    assert through is not None
    transport.close()
    assert through._process.returncode is not None, "the program ended with the connection"


@pytest.mark.parametrize("command", ["false", "no-such-program", "sleep 60"])
def test_a_proxy_command_that_leads_nowhere_is_told(sshd: Sshd, home: Path, command: str) -> None:
    (home / ".ssh" / "config").write_text(f"Host 127.0.0.1\n  ProxyCommand {command}\n")
    begun = time.monotonic()
    with pytest.raises(Unreachable, match="cannot be reached by SSH"):
        sshd.connect(connect_timeout_seconds=1.0)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("configured", "command"),
    [
        ({}, None),
        ({"proxyjump": "none", "proxycommand": "none"}, None),
        ({"proxycommand": "nc %h 22"}, "nc %h 22"),
        ({"proxyjump": "jump"}, "ssh -W zone-a:2222 ssh://jump"),
        ({"proxyjump": "me@jump:2200"}, "ssh -W zone-a:2222 ssh://me@jump:2200"),
        ({"proxyjump": "one,me@two:22,three"}, "ssh -J one,me@two:22 -W zone-a:2222 ssh://three"),
    ],
)
def test_the_way_through_a_jump_host(configured: dict[str, str], command: str | None) -> None:
    assert ssh.proxy_command(configured, "zone-a", 2222) == command


def _public(path: Path) -> sshfiles.KeyPair:
    return sshfiles.KeyPair(b"", path.with_name(path.name + ".pub").read_bytes())


def test_an_ssh_config_that_cannot_be_read_is_told(sshd: Sshd, home: Path) -> None:
    (home / ".ssh" / "config").mkdir()
    with pytest.raises(FileError, match="config:1:1: cannot be used"):
        sshd.connect()


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
    with pytest.raises(Unreachable, match="the connection was lost while a command ran") as caught:
        transport.run(["sleep", "30"])
    thread.join()
    assert time.monotonic() - begun < 5
    assert caught.value.host == "host-1"
    assert not transport.alive()
    with pytest.raises(Unreachable, match="the connection is closed"):
        transport.run(["true"])
    with pytest.raises(Unreachable, match=r"the connection is closed|no channel could be opened"):
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
    with pytest.raises(Unreachable, match="connection"):
        transport.beside().run(["sleep", "20"], timeout=20)
    thread.join()
    assert time.monotonic() - begun < 5
    assert fleet.lost == {"host-1"}
    with pytest.raises(Unreachable, match="the connection is closed"):
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


# ---- HTTP from the host


class Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body = {
            "/health": (200, b'{"status": "healthy"}'),
            "/large": (200, bytes(3 * MIB)),
            "/huge": (200, bytes(http.MAX_BODY + 1)),
            "/list": (200, b"[1]"),
            "/broken": (503, b"\xff"),
        }[self.path]
        self._answer(status, body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, body + self.headers["Content-Type"].encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Served-Zone", "zone-a")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def test_http_is_spoken_through_the_hosts_own_connection(host: SshTransport, web: int) -> None:
    reply = http.request(host, "127.0.0.1", web, "/health")
    assert (reply.status, reply.json(), reply.headers["x-served-zone"]) == (200, {"status": "healthy"}, "zone-a")
    posted = http.request(host, "127.0.0.1", web, "/predict", body=b"image ", content_type="image/jpeg")
    assert posted.body == b"image image/jpeg"


def test_an_answer_arrives_whole_though_the_server_closes_the_connection_after_it(host: SshTransport, web: int) -> None:
    assert len(http.request(host, "127.0.0.1", web, "/large", timeout=30).body) == 3 * MIB


def test_an_answer_that_is_cut_off_is_no_answer(host: SshTransport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Unreachable, match="was cut off, 7 bytes before its end"):
            http.request(host, "127.0.0.1", port, "/health")
        thread.join()


def test_an_answer_that_is_no_json_object_is_an_empty_one(host: SshTransport, web: int) -> None:
    assert http.request(host, "127.0.0.1", web, "/list").json() == {}
    reply = http.request(host, "127.0.0.1", web, "/broken")
    assert (reply.status, reply.json()) == (503, {})


def test_an_answer_beyond_all_measure_is_refused(host: SshTransport, web: int) -> None:
    with pytest.raises(Unreachable, match="answers with more than 8 MiB"):
        http.request(host, "127.0.0.1", web, "/huge", timeout=30)


def test_a_port_that_nothing_listens_on_is_told(host: SshTransport) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(Unreachable, match=f"127.0.0.1:{port} does not accept connections from here"):
            host.open_tcp("127.0.0.1", port, 5)


def test_a_server_that_accepts_and_never_answers_has_its_deadline(host: SshTransport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        begun = time.monotonic()
        with pytest.raises(Unreachable, match=rf"127.0.0.1:{port}/health gave no answer"):
            http.request(host, "127.0.0.1", port, "/health", timeout=0.5)
        assert time.monotonic() - begun < 3


def test_an_sshd_that_forbids_forwarding_is_told_with_what_to_do(make_sshd: Callable[..., Sshd], web: int) -> None:
    transport = make_sshd("AllowTcpForwarding no").connect()
    with pytest.raises(HostError, match="its sshd forbids forwarding") as caught:
        transport.open_tcp("127.0.0.1", web, 5)
    assert "AllowTcpForwarding local" in (caught.value.hint or "")
    transport.close()


@pytest.mark.parametrize(
    ("odd", "line"),
    [("@cert-authority *.example ssh-rsa AAAAB3NzaC1yc2E=", 2), ("some.host ssh-rsa no-base64", 1)],  # 1: not known
)
def test_a_line_of_known_hosts_that_cannot_be_read_is_told_with_its_place(
    sshd: Sshd, tmp_path: Path, odd: str, line: int
) -> None:
    known = tmp_path / "odd_hosts"
    known.write_text(f"# keys\n{odd}\n")
    with pytest.raises(FileError) as caught:
        sshd.connect(known_hosts=known)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{known}:{line}:1: the known_hosts file of `host-1` has a line")


def test_a_key_of_the_users_config_that_is_not_there_is_passed_over(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    key = sshd.options().key
    (tmp_path / ".ssh" / "config").write_text(f"IdentityFile ~/nowhere\nIdentityFile {key}\n")
    host = sshd.connect(key=None)
    assert host.alive()
    host.close()
