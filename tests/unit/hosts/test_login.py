"""Logging in to a real sshd: whose key it is, what ~/.ssh/config adds, and how a refusal is told."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from drillctl.errors import FileError, HostError, HostKeyRefused, LoginRefused, Unreachable
from drillctl.hosts import login, proxy, ssh
from drillctl.lab import sshfiles

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Sshd

    from drillctl.hosts.ssh import SshTransport


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
    hint = caught.value.hint or ""
    assert "`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` shows on the host's own console" in hint
    assert hint.endswith(f"`ssh-keyscan -t ed25519 -p {sshd.port} 127.0.0.1 >> {empty}`")
    assert empty.read_bytes() == b"", "nothing was learnt"
    subprocess.run(hint.split("`")[-2], shell=True, check=True, stderr=subprocess.DEVNULL)
    sshd.connect(known_hosts=empty).close()


def test_a_changed_host_key_is_refused_with_both_fingerprints(sshd: Sshd, tmp_path: Path) -> None:
    other = sshfiles.make_key(tmp_path / "other", "other")
    known = tmp_path / "known_hosts"
    known.write_text(sshd.known(other.public))
    with pytest.raises(HostKeyRefused, match="has CHANGED") as caught:
        sshd.connect(known_hosts=known)
    assert sshd.fingerprint in caught.value.message
    assert caught.value.message.count("SHA256:") == 2
    assert str(known) in caught.value.message
    assert "interception" in (caught.value.hint or "")


def test_a_refused_key_is_told_with_user_and_key(sshd: Sshd, tmp_path: Path) -> None:
    sshfiles.make_key(tmp_path / "stranger", "stranger")
    with pytest.raises(LoginRefused, match="refused the login") as caught:
        sshd.connect(key=tmp_path / "stranger")
    assert f"{sshd.user}@127.0.0.1:{sshd.port}" in caught.value.message
    assert str(tmp_path / "stranger") in caught.value.message
    assert f"try `ssh -i {tmp_path}/stranger -o IdentitiesOnly=yes -o UserKnownHostsFile=" in (caught.value.hint or "")


def test_a_key_that_is_not_there_or_not_a_key_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="nowhere: the SSH key of `host-1` is not there"):
        sshd.connect(key=tmp_path / "nowhere")
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
    with pytest.raises(HostError, match=r"refused the login|cannot be reached"):
        sshd.connect(key=rubbish)


def test_known_hosts_that_cannot_be_read_are_told(sshd: Sshd, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="nowhere: the known_hosts file of `host-1` cannot be read: No such file"):
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
    own = f"-i {sshd.key} -o IdentitiesOnly=yes -o UserKnownHostsFile={sshd.known_hosts}"
    assert caught.value.hint == f"try `ssh {own} -p {port} {sshd.user}@127.0.0.1 true`"


def test_the_command_to_try_logs_in_as_drillctl_does(sshd: Sshd, home: Path) -> None:
    command = login._as_ssh("127.0.0.1", sshd.port, sshd.user, sshd.options())
    subprocess.run(command, shell=True, check=True, stdin=subprocess.DEVNULL)
    assert login._as_ssh("zone-a", 22, "drill", sshd.options(key=None, known_hosts=None)) == (
        "ssh -p 22 drill@zone-a true"
    )


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
    assert proxy.proxy_command(configured, "zone-a", 2222) == command


def _public(path: Path) -> sshfiles.KeyPair:
    return sshfiles.KeyPair(b"", path.with_name(path.name + ".pub").read_bytes())


def test_an_ssh_config_that_cannot_be_read_is_told(sshd: Sshd, home: Path) -> None:
    (home / ".ssh" / "config").mkdir()
    with pytest.raises(FileError, match="config: cannot be used: Is a directory"):
        sshd.connect()


def test_bytes_that_are_no_utf8_mean_nothing_in_an_ssh_config(sshd: Sshd, home: Path) -> None:
    (home / ".ssh" / "config").write_bytes(b"# caf\xe9\nHost elsewhere\n  IdentityFile /keys/caf\xe9\n")
    sshd.connect().close()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Port sssh", "config:3:1: `sssh` is no port"),
        ("Port=99999", "config:3:1: `99999` is no port"),
        ("Port 0", "config:3:1: `0` is no port"),
        ("nonsense", "config:3:1: cannot be used: Unparsable line nonsense"),
        ("CanonicalizeHostname yes", "config: cannot be used: KeyError"),
        ("CanonicalizeMaxDots many", "config: cannot be used: ValueError"),
    ],
)
def test_a_line_of_an_ssh_config_that_cannot_be_used_is_told_with_its_place(
    sshd: Sshd, home: Path, line: str, said: str
) -> None:
    (home / ".ssh" / "config").write_text(f"# of mine\n\n{line}\n")
    with pytest.raises(FileError, match=re.escape(said)):
        ssh.connect("host-1", "localhost", sshd.options(port=None))


def test_a_port_may_have_a_name_as_for_ssh_itself() -> None:
    assert (login._port("ssh"), login._port("2222")) == (22, 2222)


@pytest.mark.parametrize(
    ("odd", "place"),
    [("@cert-authority *.example ssh-rsa AAAAB3NzaC1yc2E=", ":2:1"), ("some.host ssh-rsa no-base64", "")],
)
def test_a_line_of_known_hosts_that_cannot_be_read_is_told_with_its_place(
    sshd: Sshd, tmp_path: Path, odd: str, place: str
) -> None:
    known = tmp_path / "odd_hosts"
    known.write_text(f"# keys\n{odd}\n")
    with pytest.raises(FileError) as caught:
        sshd.connect(known_hosts=known)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{known}{place}: the known_hosts file of `host-1` has a line")


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
