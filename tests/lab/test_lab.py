"""The lab itself: its hosts are hosts of their own, and nothing of it stays behind."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ledger import alive
from reboot import reboot

from drillctl import inventory
from drillctl import lab as labs
from drillctl.errors import UsageError
from drillctl.lab import ground, sources

if TYPE_CHECKING:
    from conftest import Sandbox

pytestmark = pytest.mark.lab

PROJECT = Path(__file__).resolve().parents[2]

machines_only = pytest.mark.skipif(
    bool(ground.missing(ground.FOR_MACHINES)) or ground.obstacle() is not None,
    reason="machines of their own cannot be had here",
)


def on(lab: labs.Lab, host: str, script: str) -> str:
    """Return what a shell script of root's on a host prints; it must succeed."""
    done = subprocess.run(
        lab.root_command(host, ["sh", "-c", script]),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class TestHosts:
    def test_all_three_answer(self, lab: labs.Lab) -> None:
        assert labs.answering(lab) == {"gateway": True, "zone-a-1": True, "zone-b-1": True}

    def test_the_inventory_loads_and_names_the_hosts(self, lab: labs.Lab) -> None:
        loaded = inventory.load(lab.inventory)
        assert {host.name: host.address for host in loaded.hosts} == {host.name: host.address for host in lab.hosts}
        assert loaded.environment == "lab"
        assert (loaded.waived("isolation") is not None) == (lab.driver == "process")

    def test_they_have_the_model_that_the_inventory_pins(self, lab: labs.Lab) -> None:
        loaded = inventory.load(lab.inventory)
        for host in (*loaded.zone("primary").hosts, *loaded.zone("standby").hosts):
            assert on(lab, host.name, f"sha256sum {loaded.model_path(host)}").split()[0] == loaded.service.model.sha256

    def test_a_change_to_one_model_leaves_the_others_alone(self, lab: labs.Lab) -> None:
        loaded = inventory.load(lab.inventory)
        primary, standby = loaded.zone("primary").hosts[0], loaded.zone("standby").hosts[0]
        path = loaded.model_path(standby)
        try:
            on(
                lab,
                standby.name,
                f"cp {path} {path}.good; printf x | dd of={path} conv=notrunc bs=1 seek=9999 status=none",
            )
            assert on(lab, standby.name, f"sha256sum {path}").split()[0] != loaded.service.model.sha256
            assert on(lab, primary.name, f"sha256sum {loaded.model_path(primary)}").split()[0] == lab.model_sha256
            assert sources.model_folder(lab.model).sha256 == lab.model_sha256
        finally:
            on(lab, standby.name, f"mv {path}.good {path}")

    def test_the_gateway_listens_and_its_config_is_accepted(self, lab: labs.Lab) -> None:
        loaded = inventory.load(lab.inventory)
        on(lab, "gateway", " ".join(loaded.gateway.test))
        on(lab, "gateway", " ".join(loaded.gateway.reload))
        config = on(lab, "gateway", f"cat {loaded.gateway.config}")
        primary, standby = loaded.zone("primary").hosts[0], loaded.zone("standby").hosts[0]
        assert f"    server {loaded.upstream(primary)};" in config
        assert f"    # server {loaded.upstream(standby)};" in config

    def test_an_unknown_host_is_named_with_those_there_are(self, lab: labs.Lab) -> None:
        with pytest.raises(UsageError, match="no host `zone-c-1`"):
            lab.ssh_command("zone-c-1", ["true"])

    def test_another_host_key_is_refused(self, lab: labs.Lab, tmp_path: Path) -> None:
        known = (lab.folder / "known_hosts").read_text().splitlines()
        names, keys = [line.split(" ", 1)[0] for line in known], [line.split(" ", 1)[1] for line in known]
        wrong = tmp_path / "known_hosts"
        wrong.write_text(
            "\n".join(f"{name} {key}" for name, key in zip(names, keys[1:] + keys[:1], strict=True)) + "\n"
        )
        argv = lab.ssh_command("gateway", ["true"])
        argv[1:1] = ["-o", f"UserKnownHostsFile={wrong}"]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == 255
        assert "verification failed" in done.stderr


@machines_only
class TestMachines:
    def test_each_has_an_identity_of_its_own(self, lab: labs.Lab) -> None:
        facts = ("cat /etc/machine-id", "cat /proc/sys/kernel/random/boot_id", "hostname", "hostname -I")
        for fact in facts:
            seen = [on(lab, host.name, fact) for host in lab.hosts]
            below = subprocess.run(["sh", "-c", fact], capture_output=True, text=True).stdout.strip()
            assert len({*seen, below}) == len(seen) + 1, fact
        assert [on(lab, host.name, "hostname") for host in lab.hosts] == [host.name for host in lab.hosts]

    def test_each_has_a_process_table_of_its_own(self, lab: labs.Lab) -> None:
        for host in lab.hosts:
            assert on(lab, host.name, "cat /proc/1/comm") == "systemd"
            assert not Path("/proc").joinpath("1", "comm").read_text().startswith("drillctl")
            assert int(on(lab, host.name, "ls -d /proc/[0-9]* | wc -l")) < 40

    def test_each_boots_without_a_failed_unit(self, lab: labs.Lab) -> None:
        for host in lab.hosts:
            assert on(lab, host.name, "systemctl is-system-running --wait || systemctl --failed") == "running"

    def test_what_one_writes_or_deletes_is_its_own(self, lab: labs.Lab) -> None:
        existing = Path("/etc/debian_version") if Path("/etc/debian_version").exists() else Path("/etc/os-release")
        before = existing.read_bytes()
        on(lab, "zone-a-1", f"echo spoiled >/etc/drillctl-lab-was-here && rm {existing} && test ! -e {existing}")
        assert existing.read_bytes() == before
        assert not Path("/etc/drillctl-lab-was-here").exists()
        assert on(lab, "zone-b-1", f"test -e {existing} && test ! -e /etc/drillctl-lab-was-here && echo own") == "own"

    def test_a_killed_server_is_started_again_by_systemd(self, lab: labs.Lab) -> None:
        unit = "inference.service"
        on(lab, "zone-a-1", f"systemctl start {unit}")
        try:
            first = on(lab, "zone-a-1", f"systemctl show -P MainPID {unit}")
            assert on(lab, "zone-a-1", f"ps -o user= -p {first}") != "root"
            on(lab, "zone-a-1", f"kill -9 {first}")
            time.sleep(1.6)
            second = on(lab, "zone-a-1", f"systemctl show -P MainPID {unit}")
            assert second not in (first, "0")
        finally:
            on(lab, "zone-a-1", f"systemctl stop {unit}")

    def test_a_packet_filter_in_one_cuts_it_off_alone(self, lab: labs.Lab) -> None:
        reach = "timeout 1 bash -c 'exec 3<>/dev/tcp/198.18.77.11/22' && echo reached || echo cut"
        assert on(lab, "gateway", reach) == "reached"
        drop = "add rule inet cut in ip saddr 198.18.77.10 drop"
        on(
            lab,
            "zone-a-1",
            f"nft 'add table inet cut; add chain inet cut in {{ type filter hook input priority 0; }}; {drop}'",
        )
        try:
            assert on(lab, "gateway", reach) == "cut"
            assert labs.answering(lab)["zone-a-1"]
        finally:
            on(lab, "zone-a-1", "nft delete table inet cut")

    def test_one_that_reboots_comes_back_with_its_files(self, lab: labs.Lab) -> None:
        boot = on(lab, "zone-b-1", "cat /proc/sys/kernel/random/boot_id; touch /var/lib/kept; sync")
        reboot(lab, "zone-b-1")
        deadline = time.monotonic() + 20
        while not labs.answering(lab)["zone-b-1"]:
            assert time.monotonic() < deadline, "zone-b-1 did not come back"
            time.sleep(0.2)
        assert on(lab, "zone-b-1", "cat /proc/sys/kernel/random/boot_id") != boot
        assert on(lab, "zone-b-1", "rm /var/lib/kept && cat /etc/hostname") == "zone-b-1"


@machines_only
class TestModel:
    def test_hosts_see_it_through_a_layer_and_write_to_their_own(self, sandbox: Sandbox, tmp_path: Path) -> None:
        """However its folder is called, and though only its owner may read it."""
        model = tmp_path / "a model, 10:30 'v2'"
        shutil.copytree(PROJECT / "inference" / "sample", model)
        model.chmod(0o700)
        weights = model / "model.safetensors"
        weights.chmod(0o600)
        original = weights.read_bytes()
        made = sandbox.run(sandbox.drillctl("lab", "up", "--driver", "systemd", "--model", str(model)))
        assert made.returncode == 0, made.stderr

        def on_host(host: str, script: str) -> str:
            done = sandbox.run(sandbox.drillctl("lab", "root", host, "--", script))
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        path = "/srv/model/model.safetensors"
        sums = f"setpriv --reuid 65534 --clear-groups sha256sum {path} | cut -c 1-64"
        expected = hashlib.sha256(original).hexdigest()
        assert on_host("zone-b-1", f"stat -f -c %T /srv/model; {sums}").splitlines() == ["overlayfs", expected]
        on_host("zone-b-1", f"printf x >>{path}")
        assert on_host("zone-b-1", sums) != expected
        assert on_host("zone-a-1", sums) == expected
        assert (weights.read_bytes(), weights.stat().st_mode & 0o777) == (original, 0o600)


@machines_only
class TestUpAndDown:
    def test_down_leaves_nothing(self, sandbox: Sandbox) -> None:
        before = sandbox.traces()
        made = sandbox.run(sandbox.drillctl("lab", "up", "--driver", "systemd", "--json"))
        assert made.returncode == 0, made.stderr
        document = json.loads(made.stdout)
        assert [host["answers"] for host in document["hosts"]] == [True, True, True]
        ledger = sandbox.ledger
        assert len(alive(ledger)) > 10
        assert sandbox.traces() >= before | {"link drillctl0", "folder drillctl-lab"}
        assert sandbox.run(sandbox.drillctl("lab", "status")).returncode == 0

        removed = sandbox.run(sandbox.drillctl("lab", "down"))
        assert removed.returncode == 0, removed.stderr
        assert alive(ledger) == []
        assert not any(Path(str(thing["name"])).exists() for thing in ledger if thing["kind"] == "cgroup")
        assert sandbox.traces() == before

        again = sandbox.run(sandbox.drillctl("lab", "down"))
        assert (again.returncode, again.stdout) == (0, "There was no lab.\n")
        assert sandbox.run(sandbox.drillctl("lab", "status")).returncode == 4

    @pytest.mark.parametrize("entries", range(1, 7))
    @pytest.mark.parametrize("driver", ["systemd", "process"])
    def test_down_finds_what_a_killed_up_left(self, sandbox: Sandbox, driver: str, entries: int) -> None:
        before = sandbox.traces()
        up = subprocess.Popen(
            sandbox.drillctl("lab", "up", "--driver", driver), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        while len(sandbox.ledger) < entries and up.poll() is None:
            time.sleep(0.001)
        up.kill()
        up.communicate()
        time.sleep(0.2)
        ledger = sandbox.ledger
        assert not sandbox.path("/run/drillctl-lab/lab.json").exists()
        removed = sandbox.run(sandbox.drillctl("lab", "down"))
        assert removed.returncode == 0, removed.stderr
        assert alive(ledger) == []
        assert not any(Path(str(thing["name"])).exists() for thing in ledger if thing["kind"] == "cgroup")
        assert sandbox.traces() == before

    def test_up_clears_away_what_a_killed_up_left(self, sandbox: Sandbox) -> None:
        up = subprocess.Popen(
            sandbox.drillctl("lab", "up", "--driver", "systemd"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        while len(sandbox.ledger) < 5:
            time.sleep(0.001)
        up.kill()
        up.communicate()
        second = sandbox.run(sandbox.drillctl("lab", "up", "--driver", "systemd"))
        assert second.returncode == 0, second.stderr
        assert "removed what an unfinished `lab up` left" in second.stderr

    def test_ctrl_c_during_up_removes_everything(self, sandbox: Sandbox) -> None:
        before = sandbox.traces()
        up = subprocess.Popen(
            sandbox.drillctl("lab", "up", "--driver", "systemd"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        while len(sandbox.ledger) < 5:
            time.sleep(0.001)
        ledger = sandbox.ledger
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=20)
        assert up.returncode != 0
        assert alive(ledger) == []
        assert sandbox.traces() == before

    def test_a_second_up_returns_the_same_lab_or_says_why_not(self, sandbox: Sandbox) -> None:
        first = sandbox.run(sandbox.drillctl("lab", "up", "--driver", "systemd", "--json"))
        same = sandbox.run(sandbox.drillctl("lab", "up", "--json"))
        assert json.loads(same.stdout) == json.loads(first.stdout)
        other = sandbox.run(sandbox.drillctl("lab", "up", "--driver", "process"))
        assert other.returncode == 4
        assert "a lab is already up, with the driver `systemd`" in other.stderr
        model = sandbox.folder / "model"
        model.mkdir()
        (model / "model.safetensors").write_bytes(b"another")
        another = sandbox.run(sandbox.drillctl("lab", "up", "--model", str(model)))
        assert another.returncode == 4
        assert "a lab is already up, with another model" in another.stderr
        assert "drillctl lab down" in other.stderr

    def test_two_at_once_do_not_meet(self, sandbox: Sandbox) -> None:
        up = subprocess.Popen(
            sandbox.drillctl("lab", "up", "--driver", "systemd"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        while not sandbox.ledger:
            time.sleep(0.001)
        up.send_signal(signal.SIGSTOP)  # so that it is at work for as long as the others take
        others = [sandbox.run(sandbox.drillctl("lab", word)) for word in ("up", "down")]
        up.send_signal(signal.SIGCONT)
        _, said = up.communicate(timeout=60)
        assert up.returncode == 0, said
        for other in others:
            assert other.returncode == 4
            assert "another `drillctl lab up` or `down` is at work" in other.stderr

    def test_a_host_that_was_powered_off_shows(self, sandbox: Sandbox) -> None:
        assert sandbox.run(sandbox.drillctl("lab", "up", "--driver", "systemd")).returncode == 0
        sandbox.run(sandbox.drillctl("lab", "root", "zone-a-1", "--", "systemctl", "poweroff"))
        time.sleep(1)
        status = sandbox.run(sandbox.drillctl("lab", "status"))
        assert status.returncode == 4
        assert [line.split()[0] for line in status.stdout.splitlines() if "does not answer" in line] == ["zone-a-1"]
        again = sandbox.run(sandbox.drillctl("lab", "up"))
        assert again.returncode == 4
        assert "zone-a-1" in again.stderr

    def test_a_host_that_ends_while_it_boots_fails_up_and_everything_is_removed(self, sandbox: Sandbox) -> None:
        before = sandbox.traces()
        up = subprocess.Popen(
            sandbox.drillctl("lab", "up", "--driver", "systemd"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while not (entry := [thing for thing in sandbox.ledger if thing["name"] == "zone-a-1"]):
            time.sleep(0.001)
        os.kill(int(str(entry[0]["pid"])), signal.SIGKILL)
        _, said = up.communicate(timeout=60)
        assert up.returncode == 4
        assert "zone-a-1: ended at once" in said
        assert sandbox.traces() == before

    def test_a_lab_that_a_restart_ended_is_made_anew(self, sandbox: Sandbox) -> None:
        assert sandbox.run(sandbox.drillctl("lab", "up", "--driver", "systemd")).returncode == 0
        for pid in alive(sandbox.ledger):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        made = sandbox.run(sandbox.drillctl("lab", "up", "--driver", "systemd"))
        assert made.returncode == 0, made.stderr
        assert sandbox.run(sandbox.drillctl("lab", "status")).returncode == 0

    def test_a_network_that_is_taken_is_refused_and_left_alone(self, sandbox: Sandbox) -> None:
        for words in ("link add other type bridge", "address add 198.18.77.200/24 dev other"):
            assert sandbox.run(sandbox.command(["ip", *words.split()])).returncode == 0
        before = sandbox.traces()
        refused = sandbox.run(sandbox.drillctl("lab", "up", "--driver", "systemd"))
        assert refused.returncode == 4
        assert "198.18.77.0/24 is in use" in refused.stderr
        assert sandbox.traces() == before

    def test_ssh_passes_words_streams_and_the_exit_code(self, sandbox: Sandbox) -> None:
        assert sandbox.run(sandbox.drillctl("lab", "up", "--driver", "systemd")).returncode == 0
        printed = sandbox.run(sandbox.drillctl("lab", "ssh", "gateway", "--", "printf", "%s|", "two words", "$HOME"))
        assert printed.stdout == "two words|$HOME|"
        line = sandbox.run(sandbox.drillctl("lab", "ssh", "gateway", "--", "echo $USER; exit 7"))
        assert (line.stdout, line.returncode) == ("drill\n", 7)
        root = sandbox.run(sandbox.drillctl("lab", "root", "gateway", "--", "id -un; hostname; exit 7"))
        assert (root.stdout, root.returncode) == ("root\ngateway\n", 7)
        unknown = sandbox.run(sandbox.drillctl("lab", "ssh", "nowhere", "--", "true"))
        assert unknown.returncode == 2
        assert "gateway, zone-a-1, zone-b-1" in unknown.stderr
