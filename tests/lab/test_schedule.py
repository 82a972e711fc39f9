"""A drill by the clock on a host with a systemd and a cron of its own: installed, run, shown, taken away."""

from __future__ import annotations

import base64
import json
import re
import sys
from typing import TYPE_CHECKING

import pytest
from estate import ON_MACHINES, Estate

from drillctl.schedule import crontab, expression, units
from drillctl.schedule.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drillctl.lab import Lab

pytestmark = ON_MACHINES

HOST = "gateway"
PLACE = """/srv/our drills/100% "real" $HOME it's"""
SCHEDULE = f"cd /root/drills && {sys.prefix}/bin/python -m drillctl schedule zone-failover"
RECORDER = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["DRILLCTL_HOME"], "w") as file:
    json.dump(sys.argv[1:], file)
"""


@pytest.fixture
def estate(lab: Lab, tmp_path: Path) -> Iterator[Estate]:
    made = Estate(lab, tmp_path)
    yield made
    made.on(HOST, "rm -rf '/srv/our drills' /etc/systemd/system/drillctl-* /root/drills /tmp/by-*; crontab -r; true")
    made.on(HOST, "systemctl daemon-reload")


def put(estate: Estate, path: str, text: str, mode: str = "644") -> None:
    coded, where = base64.b64encode(text.encode()).decode(), base64.b64encode(path.encode()).decode()
    script = (
        f'p=$(echo {where} | base64 -d); mkdir -p "$(dirname "$p")"; echo {coded} | base64 -d > "$p"; chmod {mode} "$p"'
    )
    estate.on(HOST, script)


def job(by: str) -> Job:
    """Return a job whose program writes its words down, each of which holds what systemd, cron or sh could misread."""
    return Job(
        "lab",
        f"by-{by}",
        expression.parse("* * * * *"),
        program=f"{PLACE}/recorder",
        playbook=f"{PLACE}/playbook.yaml",
        inventory=f"{PLACE}/inventory.yaml",
        environment=(("DRILLCTL_HOME", f"/tmp/by-{by} 50%"),),
    )


def words(estate: Estate, by: str) -> list[str]:
    text = estate.on(HOST, f"cat '/tmp/by-{by} 50%' 2>/dev/null || true")
    return json.loads(text) if text else []  # type: ignore[no-any-return]


def test_systemd_and_cron_run_the_very_words(estate: Estate) -> None:
    put(estate, f"{PLACE}/recorder", RECORDER, "755")
    (block,) = crontab.render(job("cron"))
    put(estate, "/tmp/crontab", block.content)
    estate.on(HOST, "crontab /tmp/crontab && rm /tmp/crontab && setsid cron")
    for unit in units.render(job("systemd"), "/etc/systemd/system"):
        put(estate, unit.path, unit.content)
    estate.on(HOST, "systemctl daemon-reload; systemctl start drillctl-lab-by-systemd.service")
    wanted = ["run", f"{PLACE}/playbook.yaml", "--inventory", f"{PLACE}/inventory.yaml", "--yes"]
    assert words(estate, "systemd") == wanted
    estate.on(HOST, "rm '/tmp/by-systemd 50%'; systemctl start drillctl-lab-by-systemd.timer")
    estate.wait_for(lambda: words(estate, "cron") == wanted, 75)
    estate.wait_for(lambda: words(estate, "systemd") == wanted, 75)
    estate.on(HOST, "systemctl stop drillctl-lab-by-systemd.timer; kill $(cat /run/crond.pid)")


def test_it_is_installed_once_changed_after_a_diff_and_taken_away(estate: Estate) -> None:
    put(estate, "/root/drills/inventory.yaml", estate.lab.inventory.read_text())

    def schedule(*more: str, form: str = "systemd", when: str = "Mon 03:00") -> str:
        return estate.on(HOST, f"{SCHEDULE} --as {form} --every '{when}' {' '.join(more)} 2>&1")

    timer = "drillctl-lab-systemd-zone-failover.timer"
    installed = schedule("--install", "--yes", "--jitter", "15m", "--missed", "catch-up")
    assert "+OnCalendar=Mon *-*-* 03:00:00" in installed, "the diff is shown first"
    assert "drillctl-lab-systemd-zone-failover: installed" in installed
    assert estate.on(HOST, f"systemctl is-enabled {timer}; systemctl is-active {timer}") == "enabled\nactive"
    due = estate.on(HOST, f"systemctl show {timer} -p NextElapseUSecRealtime --value")
    assert re.search(r"^Mon .* 03:(0\d|1[0-5]):", due), due
    assert "already in place" in schedule("--install", "--yes", "--jitter", "15m", "--missed", "catch-up")
    changed = schedule("--install", "--yes", when="Tue 04:00")
    assert {"-OnCalendar=Mon *-*-* 03:00:00", "+OnCalendar=Tue *-*-* 04:00:00"} <= set(changed.splitlines())
    assert "Tue " in estate.on(HOST, f"systemctl show {timer} -p NextElapseUSecRealtime --value")
    assert "drillctl-lab-systemd-zone-failover: removed" in schedule("--uninstall", "--yes")
    assert "nothing to remove" in schedule("--uninstall", "--yes")
    assert estate.on(HOST, f"systemctl cat {timer} 2>/dev/null || echo gone") == "gone"

    estate.on(HOST, "echo '5 4 * * * true' | crontab -")
    assert "installed (crontab)" in schedule("--install", "--yes", form="crontab")
    assert "already in place" in schedule("--install", "--yes", form="crontab")
    assert estate.on(HOST, "crontab -l").startswith("5 4 * * * true\n# drillctl-lab-systemd-zone-failover: begin")
    assert "removed (crontab)" in schedule("--uninstall", "--yes", form="crontab")
    assert estate.on(HOST, "crontab -l") == "5 4 * * * true"

    put(estate, f"/etc/systemd/system/{timer}", "[Timer]\n# somebody else's\n")
    refused = estate.on(HOST, f"{SCHEDULE} --every daily --install --yes 2>&1; echo $?")
    assert "was not made by `drillctl schedule`" in refused
    assert refused.endswith("\n2")
