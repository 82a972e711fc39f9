"""What a machine of the lab is given before it boots."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from drillctl.gateway.nginx_adoption import flag_choice
from drillctl.gateway.passive_traps import traps
from drillctl.inventory import Gateway, GatewayKind, Host, Nginx, NginxFlag, NginxPassive
from drillctl.lab import estate, hostfiles, nginxfiles
from drillctl.lab.ground import program
from drillctl.lab.hostfiles import Below, HostFiles
from drillctl.lab.sources import Project
from drillctl.lab.sshfiles import KeyPair

BELOW = Below(
    units={
        name: f"/usr/lib/systemd/system/{name}"
        for name in ("ssh.service", "nginx.service", "haproxy.service", "systemd-networkd.service", "multi-user.target")
    },
    generators=("systemd-getty-generator",),
    nginx_user="www-data",
    shell="/bin/bash",
    passwd="root:x:0:0:root:/root:/usr/bin/fish\nana:x:1000:1000::/home/ana:/bin/bash\n",
    shadow="root:!$6$salt$hash:19000:0:99999:7:::\nana:$6$other$hash:19000:0:99999:7:::\n",
    group="root:x:0:\ndrill:x:7:ana\n",
    sshd_config="UsePAM no\n",
)
DRILL = "drill:x:2950:2950:drillctl:/home/drill:/bin/sh"
GATEWAY = estate.gateway(
    "nginx",
    hosts=(Host(name="gateway", address=hostfiles.ADDRESSES["gateway"]),),
    url="http://198.18.77.10",
    nginx={"config": hostfiles.CONFIG, "access_log": hostfiles.ACCESS_LOG},
    haproxy={},
)
PROJECT = Project(Path("/srv/a project"), Path("/srv/a project/.venv/bin/python"), ())


def files_of(host: str, gateway: Gateway = GATEWAY) -> HostFiles:
    return hostfiles.files_of(
        host,
        machine_id="0" * 32,
        key=KeyPair(b"host private", b"host public"),
        login=KeyPair(b"login private", b"login public"),
        project=PROJECT,
        weights="model.safetensors",
        sha256="ab" * 32,
        below=BELOW,
        gateway=gateway,
        privileges={"/etc/sudoers.d/drillctl": ("drill ALL = (root) NOPASSWD: DRILLCTL\n", 0o440)},
    )


def test_a_host_holds_its_own_key_and_only_the_public_part_of_the_login_key() -> None:
    files = files_of("zone-a-1").files
    assert files["etc/ssh/ssh_host_ed25519_key"] == (b"host private", 0o600)
    assert files["etc/ssh/authorized_keys/drill"] == (b"login public", 0o644)
    assert "etc/ssh/authorized_keys/root" not in files
    assert not any(b"login private" in content for content, _ in files.values())


def test_no_password_of_the_machine_below_reaches_a_host() -> None:
    shadow = files_of("gateway").files["etc/shadow"][0].decode()
    assert "hash" not in shadow
    assert [line.split(":")[:2] for line in shadow.splitlines()] == [["root", "*"], ["ana", "*"], ["drill", "*"]]


def test_root_gets_a_shell_that_is_there_whatever_its_owner_prefers() -> None:
    passwd = files_of("gateway").files["etc/passwd"][0].decode().splitlines()
    assert passwd == ["root:x:0:0:root:/root:/bin/bash", "ana:x:1000:1000::/home/ana:/bin/bash", DRILL]


def test_drillctl_gets_a_user_with_what_it_may_do_and_no_other_privilege() -> None:
    files = files_of("zone-a-1").files
    assert files["etc/group"][0].decode() == "root:x:0:\ndrill:x:2950:\n"
    assert files["etc/sudoers.d/drillctl"] == (b"drill ALL = (root) NOPASSWD: DRILLCTL\n", 0o440)
    assert "drill" not in files["etc/sudoers"][0].decode()
    assert "etc/sudoers.d" in hostfiles.CLEARED


def test_only_the_gateway_starts_nginx_and_no_host_starts_the_server() -> None:
    wants = "etc/systemd/system/multi-user.target.wants/"
    started = {
        host: {link.removeprefix(wants) for link in files_of(host).links if link.startswith(wants)}
        for host in ("gateway", "zone-a-1")
    }
    assert started == {
        "gateway": {"ssh.service", "systemd-networkd.service", "nginx.service"},
        "zone-a-1": {"ssh.service", "systemd-networkd.service"},
    }
    assert "etc/systemd/system/inference.service" in files_of("zone-b-1").files
    assert "etc/systemd/system/inference.service" not in files_of("gateway").files


def test_a_gateway_of_another_kind_starts_what_it_is_made_of_and_nothing_else() -> None:
    gateway = estate.gateway("haproxy", hosts=GATEWAY.hosts, url=GATEWAY.url, nginx={}, haproxy={})
    made = files_of("gateway", gateway)
    wants = "etc/systemd/system/multi-user.target.wants/"
    assert f"{wants}haproxy.service" in made.links
    assert f"{wants}nginx.service" not in made.links
    config = made.files["etc/haproxy/haproxy.cfg"][0].decode()
    assert "server zone-a-1 198.18.77.11:8080\n" in config
    assert "server zone-b-1 198.18.77.12:8080 disabled\n" in config
    body = made.files["etc/haproxy/fallback.http"][0].decode()
    head, _, content = body.partition("\r\n\r\n")
    assert f"Content-Length: {len(content)}" in head
    assert json.loads(content)["fallback"] is True


@pytest.mark.parametrize("kind", ["nginx", "nginx-flag", "nginx-passive"])
def test_every_kind_of_nginx_has_what_its_kind_needs(kind: GatewayKind) -> None:
    gateway = estate.gateway(kind, hosts=GATEWAY.hosts, url=GATEWAY.url, nginx={"config": hostfiles.CONFIG}, haproxy={})
    config = files_of("gateway", gateway).files[hostfiles.CONFIG.removeprefix("/")][0]
    assert b"error_page 502 504 = @recognition_fallback;" in config
    assert isinstance(gateway, Nginx)
    if isinstance(gateway, NginxFlag):
        assert flag_choice(config, gateway) is None
    if isinstance(gateway, NginxPassive):
        assert traps(config, "recognition") == []


def test_generators_of_the_machine_below_do_not_run() -> None:
    assert files_of("gateway").links["etc/systemd/system-generators/systemd-getty-generator"] == "/dev/null"


@pytest.mark.skipif(program("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("folder", ["/usr", "/usr/with blank", "/usr/with%per", "/usr/with$dollar"])
def test_systemd_reads_the_unit_as_it_was_meant(tmp_path: Path, folder: str) -> None:
    python = tmp_path / folder.removeprefix("/usr").removeprefix("/") / "python"
    python.parent.mkdir(exist_ok=True)
    python.symlink_to("/bin/true")
    text = hostfiles.service_unit("zone-b-1", Project(python.parent, python, ()), "model.safetensors", "ab" * 32)
    unit = tmp_path / "inference.service"
    unit.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert "inference.service" not in done.stderr, done.stderr
    assert 'Environment="SERVICE_NAME=backup"' in text
    assert 'Environment="ZONE=zone-b"' in text


def test_a_server_of_the_lab_is_confined_as_the_unit_that_ships() -> None:
    shipped = (Path(__file__).resolve().parents[3] / "deploy" / "inference.service").read_text()
    assert f"\n{hostfiles.HARDENING}\n[Install]\n" in shipped
    unit = hostfiles.service_unit("zone-a-1", Project(Path("/x"), Path("/x/python"), ()), "w", "ab" * 32)
    assert f"\n{hostfiles.HARDENING}\n[Install]\n" in unit


@pytest.mark.parametrize("passive", [True, False])
def test_a_server_behind_a_passive_gateway_refuses_before_that_gives_it_up(passive: bool) -> None:
    project = Project(Path("/x"), Path("/x/python"), ())
    unit = hostfiles.service_unit("zone-a-1", project, "w", "ab" * 32, queue_wait=passive)
    assert ('Environment="QUEUE_WAIT_MS=500"' in unit) == passive


def test_systemd_finds_the_unit_that_ships_well_confined(tmp_path: Path) -> None:
    if program("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    shipped = Path(__file__).resolve().parents[3] / "deploy" / "inference.service"
    judge = ["systemd-analyze", "security", "--offline=yes", "--threshold=25"]
    assert subprocess.run([*judge, str(shipped)], capture_output=True, check=False).returncode == 0
    loose = tmp_path / "loose.service"
    loose.write_text(shipped.read_text().replace(hostfiles.HARDENING, ""))
    assert subprocess.run([*judge, str(loose)], capture_output=True, check=False).returncode != 0


def test_systemd_would_complain_about_a_python_that_is_not_there(tmp_path: Path) -> None:
    if program("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    project = Project(tmp_path, tmp_path / "no python", ())
    unit = tmp_path / "inference.service"
    unit.write_text(hostfiles.service_unit("zone-a-1", project, "model.safetensors", "ab" * 32))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert "no python" in done.stderr


@pytest.mark.skipif(program("nginx") is None, reason="nginx is not installed")
def test_nginx_accepts_the_gateway_of_processes(tmp_path: Path) -> None:
    for name in ("conf.d", "log", "temporary"):
        (tmp_path / name).mkdir()
    (tmp_path / "mime.types").write_text("types { }\n")
    main = nginxfiles.main_of_process(tmp_path, user=None, mime_types=str(tmp_path / "mime.types"))
    (tmp_path / "nginx.conf").write_text(main)
    (tmp_path / "conf.d/recognition.conf").write_text(
        nginxfiles.recognition(
            listen="127.0.0.1:1", primary="127.0.0.2:8080", standby="127.0.0.3:8080", access_log=f'"{tmp_path}/a.log"'
        )
    )
    nginx = program("nginx")
    assert nginx is not None
    done = subprocess.run(
        [nginx, "-t", "-c", str(tmp_path / "nginx.conf")], capture_output=True, text=True, check=False
    )
    assert "test is successful" in done.stderr or "bind() to 127.0.0.1:1 failed" in done.stderr, done.stderr
