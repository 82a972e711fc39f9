"""The shipped unit of the patrol, run by the systemd of a lab host: sandboxed, without rights, and it works."""

from __future__ import annotations

import base64
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from estate import ON_MACHINES, Estate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drillctl.lab import Lab

pytestmark = ON_MACHINES

PROJECT = Path(__file__).resolve().parents[2]
UNIT = PROJECT / "deploy/drillctl-watch.service"
METRICS = "exec 3<>/dev/tcp/127.0.0.1/9786; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"

# Python and the project may be in a home, which the unit hides; everything else is as it ships.
DROP_IN = f"""\
[Service]
ExecStart=
ExecStart={sys.prefix}/bin/python -m drillctl watch --inventory /etc/drillctl/inventory.yaml --every 1s \
--metrics 127.0.0.1:9786
ProtectHome=tmpfs
BindReadOnlyPaths={sys.base_prefix} {PROJECT}
"""


@pytest.fixture
def estate(lab: Lab, tmp_path: Path) -> Iterator[Estate]:
    made = Estate(lab, tmp_path)
    made.start_servers()
    before = made.state()
    yield made
    clean = "systemctl stop drillctl-watch; rm -rf /etc/drillctl /etc/systemd/system/drillctl-watch.service*"
    made.on("gateway", f"{clean} /var/lib/private/drillctl /var/lib/drillctl; systemctl daemon-reload")
    assert made.state() == before


def put(estate: Estate, path: str, content: bytes, mode: str = "644") -> None:
    text = base64.b64encode(content).decode()
    folder = str(Path(path).parent)
    estate.on("gateway", f"mkdir -p {folder} && echo {text} | base64 -d > {path} && chmod {mode} {path}")


def test_the_shipped_unit_patrols_without_rights(estate: Estate) -> None:
    folder = estate.lab.inventory.parent
    inventory = re.sub(r"(known_hosts:).*", r"\1 known_hosts", estate.lab.inventory.read_text())
    put(estate, "/etc/drillctl/inventory.yaml", inventory.encode())
    put(estate, "/etc/drillctl/known_hosts", (folder / "known_hosts").read_bytes())
    put(estate, "/etc/drillctl/id_ed25519", (folder / "id_ed25519").read_bytes(), "600")
    put(estate, "/etc/systemd/system/drillctl-watch.service", UNIT.read_bytes())
    put(estate, "/etc/systemd/system/drillctl-watch.service.d/test.conf", DROP_IN.encode())
    started = "systemctl daemon-reload; systemctl start drillctl-watch || journalctl -u drillctl-watch -n 30 --no-pager"
    assert estate.on("gateway", started) == "", "it says that it is ready after its first look"
    show = "systemctl show drillctl-watch -p MainPID --value"
    pid = estate.on("gateway", show)
    status = estate.on("gateway", f"cat /proc/{pid}/status")
    assert re.search(r"^Uid:\s+(?!0\b)\d+", status, re.MULTILINE), "an account of its own"
    assert re.search(r"^CapBnd:\s+0+$", status, re.MULTILINE), "no capability can ever be had"
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)

    estate.wait_for(lambda: 'drillctl_server_ready{host="zone-b-1"' in estate.on("gateway", f'bash -c "{METRICS}"'))
    estate.wait_for(lambda: "looks, " in estate.on("gateway", "systemctl show drillctl-watch -p StatusText"))
    estate.on("zone-b-1", "systemctl stop inference")
    log = "journalctl -u drillctl-watch --no-pager -o cat"
    estate.wait_for(lambda: "ALARM     zone-b-1: its server does not answer" in estate.on("gateway", log))
    estate.on("zone-b-1", "systemctl start inference")
    estate.wait_for(lambda: "recovered no longer: zone-b-1" in estate.on("gateway", log))
    estate.on("gateway", "systemctl reload drillctl-watch")
    estate.wait_for(lambda: "are taken to be right" in estate.on("gateway", log))
    assert estate.on("gateway", show) == pid, "one process all the time"
    assert estate.on("gateway", "ls /var/lib/private/drillctl/history.db") != ""
    estate.on("gateway", "systemctl stop drillctl-watch")
    assert estate.on("gateway", "systemctl show drillctl-watch -p Result --value") == "success"
