"""The files of a lab that others read: inventory, known_hosts, ssh_config; and what it is built from."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from drillctl import inventory
from drillctl.errors import NotStarted
from drillctl.inventory import Host, Model, NginxReload, SystemdStart, Waiver
from drillctl.lab import daemons, estate, ground, sources, sshfiles
from drillctl.lab.sshfiles import KeyPair, Login

if TYPE_CHECKING:
    from pathlib import Path


def test_the_inventory_that_is_written_is_the_one_that_is_read(tmp_path: Path) -> None:
    hosts = {name: Host(name=name, address=f"127.0.{77 + n}.1") for n, name in enumerate(estate.HOSTS)}
    written = estate.inventory(
        driver="process",
        hosts=hosts,
        gateway=NginxReload(hosts=(hosts["gateway"],), url="http://127.0.77.1", config="/c", upstream=estate.UPSTREAM),
        start=SystemdStart(kind="systemd", unit="inference.service"),
        model=Model(path="/srv/model/model.safetensors", sha256="ab" * 32),
        user="root",
        waivers=(Waiver(check="isolation", reason="one machine: nothing is isolated"),),
    )
    path = tmp_path / estate.INVENTORY
    path.write_text(estate.as_yaml(written))
    read = inventory.load(path)
    assert read.ssh.key == tmp_path / sshfiles.LOGIN_KEY
    assert read.ssh.known_hosts == tmp_path / sshfiles.KNOWN_HOSTS
    assert read.model_copy(update={"ssh": written.ssh}) == written


def test_known_hosts_names_another_port_than_22(tmp_path: Path) -> None:
    keys = {
        Login("gateway", "198.18.77.10", 22, "root"): KeyPair(b"", b"ssh-ed25519 AAAA1 gateway\n"),
        Login("zone-a-1", "127.0.78.1", 2222, "ana"): KeyPair(b"", b"ssh-ed25519 AAAA2 zone-a-1\n"),
    }
    sshfiles.write_client_files(tmp_path, keys)
    assert (tmp_path / "known_hosts").read_text() == (
        "198.18.77.10 ssh-ed25519 AAAA1\n[127.0.78.1]:2222 ssh-ed25519 AAAA2\n"
    )


@pytest.mark.skipif(ground.program("ssh") is None, reason="ssh is not installed")
def test_ssh_reads_the_config_as_it_was_meant(tmp_path: Path) -> None:
    login = Login("zone-a-1", "127.0.78.1", 2222, "ana")
    sshfiles.write_client_files(tmp_path, {login: KeyPair(b"", b"ssh-ed25519 AAAA2 zone-a-1\n")})
    told = subprocess.run(
        ["ssh", "-G", "-F", str(tmp_path / "ssh_config"), "zone-a-1"], capture_output=True, text=True, check=True
    )
    lines = set(told.stdout.splitlines())
    assert {"hostname 127.0.78.1", "port 2222", "user ana", "batchmode yes", "identitiesonly yes"} <= lines
    assert f"identityfile {tmp_path}/id_ed25519" in lines
    assert f"userknownhostsfile {tmp_path}/known_hosts" in lines


def test_a_private_key_does_not_show_in_messages() -> None:
    assert "secret" not in repr(KeyPair(b"secret", b"ssh-ed25519 AAAA comment\n"))


def test_a_model_folder_is_told_by_its_weights(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.pt").write_bytes(b"weights")
    found = sources.model_folder(tmp_path)
    assert (found.weights, found.sha256) == ("pytorch_model.pt", hashlib.sha256(b"weights").hexdigest())


def test_a_folder_without_weights_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match="is no model folder") as caught:
        sources.model_folder(tmp_path)
    assert caught.value.state == "nothing was changed"
    assert "--model" in (caught.value.hint or "")


def test_a_copied_model_can_be_spoilt_without_touching_the_original(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir(mode=0o700)
    (tmp_path / "model/model.safetensors").write_bytes(b"weights")
    (tmp_path / "model/model.safetensors").chmod(0o400)
    sources.model_folder(tmp_path / "model").copy_to(tmp_path / "copy")
    (tmp_path / "copy/model.safetensors").write_bytes(b"other")
    assert (tmp_path / "model/model.safetensors").read_bytes() == b"weights"
    assert (tmp_path / "copy/model.safetensors").stat().st_mode & 0o777 == 0o644


def test_a_model_that_does_not_fit_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.safetensors").write_bytes(bytes(3 << 20))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2 << 20))
    with pytest.raises(NotStarted, match=r"3 MiB do not fit into .* 2 MiB are free"):
        sources.model_folder(tmp_path / "model").copy_to(tmp_path / "copy")


def test_what_is_missing_comes_with_the_command_that_installs_it() -> None:
    error = ground.lacking(("sshd", "nginx"))
    assert "sshd, nginx" in error.message
    assert (error.hint or "").endswith("apt-get install -y --no-install-recommends nginx openssh-server")


def test_a_port_that_is_taken_is_passed_over() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.77.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        assert daemons.free_port("127.0.77.1", port) != port
