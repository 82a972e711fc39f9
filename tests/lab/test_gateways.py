"""Drills through each kind of gateway: what happened is checked from outside drillctl, and a sabotage is told apart."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests
from estate import CONFIG, ON_MACHINES, Estate
from reboot import reboot

from drillctl import lab as labs
from drillctl.lab import nginxfiles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drillctl.inventory import GatewayKind

pytestmark = [*ON_MACHINES, pytest.mark.long]

FLAGS = "/var/lib/drillctl-flags"
LOG = "/var/log/nginx/recognition.access.log"
STATES = "/var/lib/haproxy/server-state"
SOCKET = "/run/haproxy/admin.sock"
PROGRAMS = "/usr/local/libexec/drillctl"
TTL = 5
READY = 40

# What the gateway decides by, besides its config: nothing of a drill may be left of it.
CHOICE = f"""
ls -A {FLAGS} 2>/dev/null
ls -A /etc/nginx /etc/nginx/conf.d /var/lib/haproxy | grep drillctl
sha256sum /etc/haproxy/haproxy.cfg {CONFIG} 2>/dev/null
ls /var/lib/haproxy/server-state 2>/dev/null
[ ! -S /run/haproxy/admin.sock ] || perl -MIO::Socket::UNIX -e '
    $s = IO::Socket::UNIX->new("/run/haproxy/admin.sock");
    print $s "show servers state recognition\\n";
    while (<$s>) {{ @f = split; print "$f[3] ", $f[6] & 35, "\\n" if $f[18] }}'
true
"""


@pytest.fixture(scope="module", params=["nginx-flag", "haproxy", "nginx-passive"])
def lab(request: pytest.FixtureRequest) -> Iterator[labs.Lab]:
    """A lab whose gateway is of one kind; the lab of the other tests, if it is up, makes room meanwhile."""
    kind: GatewayKind = request.param
    there = labs.current()
    labs.down()
    try:
        yield labs.up(gateway=kind)
    finally:
        labs.down()
        if there is not None:
            labs.up(there.driver, there.model)


@pytest.fixture
def estate(lab: labs.Lab, tmp_path: Path) -> Iterator[Estate]:
    """An estate in its steady state; afterwards it is the same, and no guard holds anything."""
    made = Estate(lab, tmp_path)
    made.start_servers()
    before = made.on("gateway", CHOICE)
    made.wait_for(lambda: made.serving_zone() == "zone-a", 15)
    yield made
    made.wait_for(lambda: made.serving_zone() == "zone-a", 15)
    assert made.on("gateway", CHOICE) == before
    left = "ls -A /var/lib/drillctl/gateway | grep -v '^epoch$' | cat"
    made.wait_for(lambda: made.on("gateway", left) == "", 10)


def switches(estate: Estate) -> None:
    """Skip a gateway that drillctl does not switch."""
    if estate.lab.gateway == "nginx-passive":
        pytest.skip("nginx fails over by itself")


def step(report: dict[str, Any], name: str) -> dict[str, Any]:
    return next(s for s in report["steps"] if s["name"] == name)


class Client:
    """A client beside drillctl's traffic; it counts the statuses that it gets."""

    def __init__(self, url: str) -> None:
        self.statuses: list[int] = []
        self._url = f"{url}/info"
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._done.wait(0.02):
            try:
                self.statuses.append(requests.get(self._url, timeout=5).status_code)
            except requests.RequestException:
                self.statuses.append(0)


def test_a_drill_switches_without_a_reload_and_puts_everything_back(estate: Estate) -> None:
    switches(estate)
    workers = "ps -o pid= -C nginx -C haproxy | sort"
    before = estate.on("gateway", workers)
    since = estate.on("gateway", "date +%s")
    with Client(estate.lab.url) as client:
        done = estate.drill()
    assert done.code == 0, done.err
    report = done.report
    assert report["verdict"] == "passed"
    assert report["restore"]["config_identical"] is True
    assert estate.on("gateway", workers) == before, "nothing was restarted or reloaded"
    assert set(client.statuses) <= {200, 503}, "while no zone answered, clients got the fallback"
    assert 503 in client.statuses
    assert 0 < report["recovery"]["outage_seconds"] <= 1.0, report["recovery"]
    assert "the switch took at most" in step(report, "switch")["detail"]
    assert "by it" in step(report, "verify")["detail"]
    lines = estate.on("gateway", f"journalctl -o cat -t sudo --since=@{since}").splitlines()
    commands = [line.partition("COMMAND=")[2] for line in lines if "COMMAND=" in line]
    assert len(commands) > 5
    assert all(command.startswith(f"{PROGRAMS}/") for command in commands), "what needs root is an installed program"


def test_a_gateway_that_a_killed_drill_switched_goes_back_once_the_primary_answers(estate: Estate) -> None:
    switches(estate)
    playbook = estate.changed_playbook("start: {", f"guard: {{ttl_seconds: {TTL}}}\nstart: {{")
    process = estate.start_drill(playbook=playbook)
    estate.wait_for_step("switch")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    killed = time.monotonic()
    assert estate.serving_zone() == "zone-b"
    zones = []
    while not zones or zones[-1] == "zone-b":
        zones.append(estate.serving_zone())
        assert time.monotonic() - killed < TTL + READY
        time.sleep(0.05)
    assert set(zones) == {"zone-a", "zone-b"}, "at no moment was nobody there"
    assert time.monotonic() - killed >= TTL - 2
    done = estate.run("recover")
    assert done.code == 0, done.err


def test_recover_elsewhere_puts_the_gateway_back(estate: Estate, tmp_path: Path) -> None:
    """With a lease that has not run out, and neither journal nor kept bytes: from what the guards hold alone."""
    switches(estate)
    playbook = estate.changed_playbook("start: {", f"guard: {{ttl_seconds: {TTL}}}\nstart: {{")
    process = estate.start_drill(playbook=playbook)
    estate.wait_for_step("switch")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    (tmp_path / "elsewhere").mkdir()
    other = Estate(estate.lab, tmp_path / "elsewhere")
    done = other.run("recover", "--inventory", str(estate.inventory))
    assert done.code == 0, done.err
    assert estate.serving_zone() == "zone-a"
    assert estate.run("recover").code == 0


def test_a_gateway_that_reboots_in_the_middle_stays_where_there_is_service(estate: Estate) -> None:
    """The flag, and HAProxy's state file, outlive it: clients are not sent back to a zone that the drill has broken."""
    switches(estate)
    playbook = estate.changed_playbook("start: {", f"guard: {{ttl_seconds: {TTL * 3}}}\nstart: {{")
    process = estate.start_drill(playbook=playbook)
    estate.wait_for_step("switch")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    reboot(estate.lab, "gateway")
    zones: list[str | None] = []
    deadline = time.monotonic() + TTL * 3 + READY
    while not zones or zones[-1] != "zone-a":
        zones.append(estate.serving_zone())
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [zone for zone in dict.fromkeys(zones) if zone] == ["zone-b", "zone-a"]
    done = estate.run("recover")
    assert done.code == 0, done.err


SABOTAGE = {
    # nginx goes by another flag from now on: everything looks right, and the flag does nothing.
    "nginx-flag": (
        f"cp -p {CONFIG} /root/kept; sed -i 's|{FLAGS}/|{FLAGS}/elsewhere/|' {CONFIG} && nginx -s reload",
        f"mv /root/kept {CONFIG} && nginx -s reload",
    ),
    "haproxy": ("mv /run/haproxy/admin.sock /run/haproxy/gone", "mv /run/haproxy/gone /run/haproxy/admin.sock"),
}


def test_a_switch_that_is_not_applied_fails_the_drill(estate: Estate) -> None:
    switches(estate)
    breaking, mending = SABOTAGE[estate.lab.gateway]
    process = estate.start_drill(
        playbook=estate.changed_playbook("{step: switch, within_seconds: 10}", "{step: switch, within_seconds: 2}")
    )
    estate.wait_for_step("arm")
    estate.on("gateway", breaking)
    estate.wait_for_step("switch")
    estate.on("gateway", mending)
    done = estate.finish(process)
    assert done.code == 1, done.err
    assert step(done.report, "switch")["status"] == "failed"
    assert done.report["restore"]["config_identical"] is True


PASSIVE = """
steps:
  - step: fault
  - {step: verify, zone: standby}
restore:
  - {step: heal, ready_seconds: 30}
  - {step: verify, zone: primary}
"""


def test_a_gateway_that_fails_over_by_itself_loses_nothing(estate: Estate) -> None:
    if estate.lab.gateway != "nginx-passive":
        pytest.skip("drillctl switches this one")
    text = estate.playbook.read_text()
    playbook = estate.folder / "passive.yaml"
    playbook.write_text(text[: text.index("steps:")] + PASSIVE.lstrip())
    logged = int(estate.on("gateway", f"wc -l < {LOG}"))
    with Client(estate.lab.url) as client:
        done = estate.drill(playbook=playbook)
    report = done.report
    assert step(report, "fault")["status"] == "ok", done.err
    assert step(report, "verify")["status"] == "ok", done.err
    assert "zone-b serves" in step(report, "verify")["detail"]
    # Nobody saw a lost connection, a 502 or nginx's fallback; a 503 of a server that is at its limit is another matter.
    lines = estate.on("gateway", f"tail -n +{logged + 1} {LOG}").splitlines()
    fine = r'" (200 .*|499 .*|503 .* upstream_status=(503|.*[ ,]503)) '  # 499: the clients' own end, checked below
    assert [line for line in lines if not re.search(fine, line)] == []
    assert set(report["traffic"]["kinds"]) <= {"status 503"}, report["traffic"]
    assert set(client.statuses) <= {200, 503}
    assert len(lines) > 100
    assert report["restore"]["config_identical"] is True


def test_clients_of_a_frozen_primary_wait_for_the_gateway_but_lose_nothing(estate: Estate) -> None:
    if estate.lab.gateway != "nginx-passive":
        pytest.skip("drillctl switches this one")
    text = estate.playbook.read_text()
    assert "traffic: {" in text
    text = text.replace("traffic: {", "traffic: {slow_seconds: 0.5, ")  # nginx gives a frozen one up after 0.7 s
    frozen = text[: text.index("steps:")] + PASSIVE.lstrip().replace("step: fault\n", "step: fault\n    fault: hang\n")
    playbook = estate.folder / "frozen.yaml"
    playbook.write_text(frozen)
    done = estate.drill(playbook=playbook)
    assert step(done.report, "fault")["status"] == "ok", done.err
    assert step(done.report, "verify")["status"] == "ok", done.err
    assert done.report["traffic"]["failed"] == 0, done.report["traffic"]
    assert done.report["traffic"]["slow"] > 0, "somebody must have waited for the frozen one"
    impatient = estate.folder / "impatient.yaml"
    impatient.write_text(frozen.replace("traffic: {", "traffic: {timeout_seconds: 0.7, "))
    refused = estate.drill(playbook=impatient)
    assert refused.code == 4, refused.err
    assert "proxy_read_timeout is 700ms, and clients wait 0.7 s" in refused.err


def test_clients_get_the_fallback_at_once_when_both_zones_are_down(estate: Estate) -> None:
    for host in ("zone-a-1", "zone-b-1"):
        estate.on(host, "systemctl stop inference")
    try:
        seconds = []
        for _ in range(20):
            begun = time.monotonic()
            reply = requests.post(f"{estate.lab.url}/predict", data=b"x" * 50_000, timeout=10)
            seconds.append(time.monotonic() - begun)
            assert reply.status_code == 503
            assert reply.headers["Content-Type"] == "application/json"
            assert reply.json()["fallback"] is True
            assert reply.json()["error"] == "service_unavailable"
        assert max(seconds) <= 1.5, seconds
    finally:
        estate.start_servers()


def program(name: str, *words: str) -> list[str]:
    return ["sudo", "-n", "--", f"{PROGRAMS}/{name}", *words]


def registered(*undo: str) -> list[str]:
    return program("guard", "gateway", "register", "1", "gateway.restore", *undo)


FLAG = f"{FLAGS}/recognition.standby"
STAGED = f"{FLAGS}/.drillctl-20260101T000000Z-run-1.flag"
A, B = "set server recognition/zone-a-1", "set server recognition/zone-b-1"
NOW = "zone-a-1=ready zone-b-1=maint"
HEALTH = "http://198.18.77.11:8080/health"
SHA = "0" * 64
ATTEMPTS = {
    "nginx-flag": [
        program("flag-stage", FLAG, STAGED, "/run/nginx.pid"),
        program("flag-stage", "/etc/cron.d/x", "/etc/cron.d/.drillctl-20260101T000000Z-run-1.flag", "/run/nginx.pid"),
        program("flag-stage", FLAG, f"{FLAGS}/.drillctl-20260101T000000Z-run-1/../x.flag", "/run/nginx.pid"),
        program("flag-raise", "/etc/cron.d/x", STAGED, "the standby serves: drillctl, run 20260101T000000Z-run-1"),
        program("flag-raise", FLAG, STAGED, "* * * * * root id"),
        program("flag-lower", "/etc/shadow", STAGED, SHA),
        program("flag-put", FLAG, STAGED, SHA, "644", "0:0", "absent"),
        program("flag-put", FLAG, STAGED, SHA, "4755", "0:0", "absent"),
        program("flag-put", FLAG, STAGED, SHA, "644", "2950:2950", "absent"),
        program("flag-put", "/etc/shadow", STAGED, "", "", "", "absent"),
        program("flag-discard", f"{FLAGS}/recognition.standby"),
        program("gateway-dump"),
        registered("gateway.flag", FLAG, SHA, "644", "0:0", "absent", "http://198.18.77.12:8080/health"),
        registered("gateway.flag", "/etc/shadow", "-", "-", "-", SHA, HEALTH),
        registered("gateway.restore", CONFIG, SHA, "644", "0:0", SHA, "nginx -s reload", HEALTH),
    ],
    "haproxy": [
        ["socat", "-", f"UNIX-CONNECT:{SOCKET}"],
        program("haproxy-switch", SOCKET, "recognition", NOW, f"{B} state ready; disable frontend clients", STATES),
        program("haproxy-switch", SOCKET, "recognition", NOW, f"{B} addr 198.18.77.1 port 80", STATES),
        program("haproxy-switch", SOCKET, "recognition", NOW, f"{A} state maint; {B} state maint", STATES),
        program("haproxy-switch", SOCKET, "recognition", NOW, f"{B} state ready", "/etc/cron.d/x"),
        program("haproxy-switch", "/home/drill/a.sock", "recognition", NOW, f"{B} state ready", STATES),
        program("haproxy-put", SOCKET, "", STATES, SHA, "644", "0:0"),
        program("haproxy-put", SOCKET, "", "/etc/shadow", "", "", ""),
        program("haproxy-put", SOCKET, "shutdown sessions server recognition/zone-a-1", STATES, "", "", ""),
        program("haproxy-state-file", "/etc/shadow", str(1 << 20)),
        program("haproxy-state-lines", "/etc/shadow"),
        program("haproxy-test", "-f", "/home/drill/haproxy.cfg"),
        registered(
            "gateway.haproxy", SOCKET, SHA, "recognition", NOW, NOW, f"{A} state ready", STATES, "644", "0:0", HEALTH
        ),
        registered("gateway.haproxy", SOCKET, "-", "recognition", NOW, NOW, f"{A} weight 0", STATES, "-", "-", HEALTH),
    ],
    "nginx-passive": [
        program("gateway-reload", "/run/nginx.pid", "/var/log/nginx/error.log", "nginx -s reload"),
        program("gateway-read", "/etc/shadow"),
        program("gateway-dump"),
        registered("gateway.restore", CONFIG, SHA, "644", "0:0", SHA, "nginx -s reload", HEALTH),
    ],
}
"""What the drill's user may not have done, by kind of gateway; stdin brings bytes that are none of a drill's."""


def test_the_drills_user_may_not_have_anything_else_done(estate: Estate) -> None:
    look = f"{CHOICE}\nls -A /etc/cron.d; sha256sum /etc/shadow"
    before = estate.on("gateway", look)
    for words in ATTEMPTS[estate.lab.gateway]:
        done = subprocess.run(
            estate.lab.ssh_command("gateway", words),
            input=b"* * * * * root id\n",
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert done.returncode in {1, 126, 127}, (words, done.stdout, done.stderr)
        assert done.stdout == b"", words
        assert estate.on("gateway", look) == before, words


def test_the_gateway_is_shown(estate: Estate) -> None:
    done = estate.run("gateway", "show", "--inventory", str(estate.inventory), "--json")
    assert done.code == 0, done.out
    assert done.report["kind"] == estate.lab.gateway
    assert [host["configured_zone"] for host in done.report["hosts"]] == ["zone-a"]


def test_a_config_is_adopted_over_ssh_and_put_back_byte_for_byte(estate: Estate) -> None:
    """The lab's config was adopted before it was written, so adopting a plain one must give its very bytes.

    Installed programs write no whole config: they show the difference, and any command by sudo makes it.
    """
    if estate.lab.gateway == "haproxy":
        pytest.skip("drillctl does not edit HAProxy's config")
    installed = ("--inventory", str(estate.inventory))
    assert "Nothing is missing" in estate.run("gateway", "adopt", *installed).out
    where = ("--inventory", str(estate.by_sudo()))
    assert "Nothing is missing" in estate.run("gateway", "adopt", *where).out
    a, b = "198.18.77.11:8080", "198.18.77.12:8080"
    log = '"/var/log/nginx/recognition.access.log"'
    given_up = {"connect": "700ms", "read": "700ms"} if estate.lab.gateway == "nginx-passive" else {}
    plain = nginxfiles.recognition(listen="80", primary=a, standby=b, access_log=log, **given_up)
    digest = f"sha256sum < {CONFIG}"
    adopted = estate.on("gateway", digest)
    estate.on("gateway", f"cp -p {CONFIG} /root/kept && cat > {CONFIG} << 'END' && nginx -s reload\n{plain}END\n")
    try:
        before = estate.on("gateway", digest)
        time.sleep(0.5)
        shown = estate.run("gateway", "show", *where)
        assert shown.code == 4
        assert "`drillctl gateway adopt` would change" in shown.out
        refused = estate.run("gateway", "adopt", *where)
        assert refused.code == 4
        assert "there is no terminal to ask on" in refused.err
        assert "error_page 502 504" in refused.out
        for who in (where, installed):
            only_shown = estate.run("gateway", "adopt", "--diff", *who)
            assert only_shown.code == 0
            assert "error_page 502 504" in only_shown.out
        for words in (("--yes",), ("--undo", "--yes")):
            left_to_others = estate.run("gateway", "adopt", *words, *installed)
            assert left_to_others.code == 4
            assert "the config is the administrator's there" in left_to_others.err
        assert estate.on("gateway", digest) == before
        done = estate.run("gateway", "adopt", "--yes", *where)
        assert done.code == 0, done.err
        assert estate.on("gateway", digest) == adopted
        undone = estate.run("gateway", "adopt", "--undo", "--yes", *where)
        assert undone.code == 0, undone.err
        assert estate.on("gateway", digest) == before
    finally:
        estate.on("gateway", f"mv /root/kept {CONFIG} && nginx -s reload")
    assert estate.on("gateway", digest) == adopted


def test_the_playbook_for_passive_gateways_is_for_no_other(estate: Estate) -> None:
    if estate.lab.gateway != "nginx-passive":
        refused = estate.run("run", "gateway-passive", "--inventory", str(estate.inventory), "--yes")
        assert refused.code == 2
        assert f"is {estate.lab.gateway}" in refused.err
        return
    where = ("--inventory", str(estate.inventory), "--yes", "--json", "--var", "rate=20")
    done = estate.run("run", "gateway-passive", *where)
    assert done.code == 0, done.err
    assert done.report["traffic"]["failed"] == 0
    assert done.report["traffic"]["by_zone"]["zone-b"] > 0
