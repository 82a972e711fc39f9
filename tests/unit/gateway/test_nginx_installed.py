"""A real nginx, switched by the installed programs: what they take is enough, and the candidate is tested in place."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from drillctl.errors import GatewayError
from drillctl.gateway.nginx import NginxGateway
from drillctl.gateway.nginx_scripts import in_place
from drillctl.inventory import NginxReload
from drillctl.privileges.program import REFUSED

from .conftest import by_programs

if TYPE_CHECKING:
    from drillctl.inventory import Inventory

    from .conftest import RunningNginx

RUN = "20260101T000000Z-run-1"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the programs are for root")


def gateway_of(nginx: RunningNginx, inventory: Inventory | None = None) -> NginxGateway:
    known = inventory or nginx.inventory()
    transport = by_programs(known, nginx.folder)
    assert isinstance(known.gateway, NginxReload)
    return NginxGateway(known, known.gateway, {"gateway": transport}, RUN)


@pytest.mark.parametrize("style", ["#", "down"])
def test_it_is_switched_and_put_back(nginx: RunningNginx, style: str) -> None:
    nginx.write_live(style)
    nginx.start()
    original = nginx.live.read_bytes()
    gateway = gateway_of(nginx)
    before = gateway.read()
    gateway.test()
    assert gateway.places() == {"gateway": (str(nginx.live.parent / f".drillctl-{RUN}"),)}
    staged = gateway.stage("zone-b")
    assert nginx.live.read_bytes() == original
    assert (staged.hosts[0].test_root, nginx.answer()) == ("", "zone-a")
    gateway.prove_applied(gateway.activate(staged), 5)
    assert nginx.answer() == "zone-b"
    mark = gateway.access_mark()
    nginx.answer()
    assert gateway.served_since(mark).by_address == {nginx.standby: 1}
    gateway.prove_applied(gateway.restore(before), 5)
    assert nginx.answer() == "zone-a"
    assert nginx.live.read_bytes() == original
    gateway.discard(staged)
    assert nginx.leftovers() == []


def test_a_candidate_that_nginx_refuses_is_found_in_the_live_files_place(nginx: RunningNginx) -> None:
    """Each zone alone is valid here; the file that refuses the standby is another one."""
    nginx.start()
    nginx.write_live("#")
    text = nginx.live.read_text()
    # A server that cannot be resolved is only looked up when its line is on.
    nginx.live.write_text(text.replace(f"# server {nginx.standby}", "# server nowhere.invalid:1"))
    known = nginx.inventory()
    standby = known.zone("standby")
    host = standby.hosts[0].model_copy(update={"upstream": "nowhere.invalid:1"})
    zones = tuple(z.model_copy(update={"hosts": (host,)}) if z.role == "standby" else z for z in known.zones)
    with pytest.raises(GatewayError, match=r"nginx does not accept the candidate: .*nowhere\.invalid"):
        gateway_of(nginx, known.model_copy(update={"zones": zones})).stage("zone-b")
    assert nginx.leftovers() == []


def test_a_file_that_nginx_does_not_read_is_noticed(nginx: RunningNginx) -> None:
    nginx.start()
    other = nginx.folder / "other.conf"
    other.write_text(nginx.upstream())
    with pytest.raises(GatewayError, match="did not read it in the place of"):
        gateway_of(nginx, nginx.inventory(config=str(other))).stage("zone-b")
    assert nginx.leftovers() == []


def test_a_link_to_the_config_is_refused_with_the_files_name(nginx: RunningNginx) -> None:
    nginx.start()
    link = nginx.folder / "link.conf"
    link.symlink_to(nginx.live)
    with pytest.raises(GatewayError) as refused:
        gateway_of(nginx, nginx.inventory(config=str(link))).read()
    assert f"set `gateway.config` to {nginx.live}" in str(refused.value.hint)


def test_a_line_that_two_servers_share_is_refused_before_anything_changes(nginx: RunningNginx) -> None:
    nginx.live.write_text(nginx.live.read_text().replace("  # zone a", "  server 127.0.0.1:9 backup;"))
    nginx.start()
    original = nginx.live.read_bytes()
    with pytest.raises(GatewayError, match="each on a line of its own"):
        gateway_of(nginx).stage("zone-b")
    assert nginx.live.read_bytes() == original
    assert nginx.leftovers() == []


def test_what_someone_changed_between_staging_and_switch_is_kept(nginx: RunningNginx) -> None:
    nginx.start()
    gateway = gateway_of(nginx)
    staged = gateway.stage("zone-b")
    nginx.live.write_text(nginx.live.read_text() + "# by hand\n")
    with pytest.raises(GatewayError, match="changes more of the config"):
        gateway.activate(staged)
    assert nginx.live.read_text().endswith("# by hand\n")
    gateway.discard(staged)


@pytest.mark.parametrize("other", ["candidate", "folder", "test", "zone"])
def test_a_candidate_is_only_put_in_place_with_its_own_folder_and_test(nginx: RunningNginx, other: str) -> None:
    nginx.start()
    original = nginx.live.read_bytes()
    gateway = gateway_of(nginx)
    (staged,) = gateway.stage("zone-b").hosts
    # What another run has staged, as whoever has the drill's key can.
    another = staged.folder.replace(RUN, "2")
    shutil.copytree(staged.folder, another)
    tested = f"{another if other == 'test' else staged.folder}/{'zone-a' if other == 'zone' else 'zone-b'}.candidate"
    words = [
        staged.live,
        staged.candidate.replace(RUN, "2") if other == "candidate" else staged.candidate,
        another if other == "folder" else staged.folder,
        "",
        staged.original_sha256,
        staged.sha256,
        str(nginx.pidfile),
        str(nginx.error_log),
        shlex.join(in_place(tested, staged.live, nginx.test)),
        shlex.join(nginx.reload),
    ]
    program = nginx.folder / "programs" / "gateway-activate"
    done = subprocess.run(["sh", str(program), *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (REFUSED, "")
    assert "are not of one run" in done.stderr
    assert nginx.live.read_bytes() == original
