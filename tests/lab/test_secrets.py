"""Secrets stay where they were put: canaries, planted wherever one can be, are searched in all that a run leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from canaries import Canaries, Spy, files
from estate import MODEL, ON_MACHINES, PLAYBOOK, Estate
from ruamel.yaml import YAML

from tests.crash.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Sandbox

    from drillctl.lab import Lab

PROJECT = Path(__file__).resolve().parents[2]
SAMPLE = PROJECT / "inference" / "sample"
OWN = ("drillctl", "said.py")

OF_SERVICE = (
    "service.start.environment",
    "zone.environment",
    "host.environment",
    "MODEL_URI password",
    "MODEL_URI query",
)
OF_DRILLCTL = "drillctl's own AWS_SECRET_ACCESS_KEY"


def planted() -> Canaries:
    return Canaries(*OF_SERVICE, OF_DRILLCTL, "http_proxy", "service.start.command")


def plant(document: dict[str, Any], canaries: Canaries, cache: Path, sha256: str) -> None:
    """Put secrets into an inventory whose service is a process; its model is in the cache already."""
    start, zones = document["service"]["start"], document["zones"]
    uri = f"https://user:{{}}@models.example/pack?signature={canaries['MODEL_URI query']}"
    start["environment"] = {
        **start.get("environment", {}),
        "API_TOKEN": canaries["service.start.environment"],
        "MODEL_PATH": "",
        "MODEL_URI": uri.format(canaries["MODEL_URI password"].replace("/", "%2F").replace("+", "%2B")),
        "MODEL_CACHE": str(cache),
        "MODEL_SHA256": sha256,
        "LOG_LEVEL": "debug",
    }
    for zone in zones:
        zone["environment"] = {"ZONE_TOKEN": canaries["zone.environment"]}
        host = zone["hosts"][0]
        host["environment"] = {**host.get("environment", {}), "HOST_TOKEN": canaries["host.environment"]}


def own_environment(canaries: Canaries, home: Path) -> dict[str, str]:
    """Return what drillctl has in its environment, with secrets."""
    return {
        "DRILLCTL_HOME": str(home),
        "SAID": str(home / "said"),
        "AWS_SECRET_ACCESS_KEY": canaries[OF_DRILLCTL],
        "http_proxy": f"http://user:{canaries['http_proxy']}@127.0.0.1:9",
        "PYTHONPATH": str(PROJECT),
    }


class Drills:
    """Runs drillctl with secrets all around it, and keeps what it said."""

    def __init__(
        self, command: Callable[[list[str]], list[str]], environment: dict[str, str], inventory: Path, playbook: Path
    ) -> None:
        self._command = command
        self._environment = environment
        self.inventory = inventory
        self.playbook = playbook
        self.home = Path(environment["DRILLCTL_HOME"])
        self._number = 0

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        self._number += 1
        with (
            (self.home / f"out-{self._number}").open("wb") as out,
            (self.home / f"err-{self._number}").open("wb") as err,
        ):
            argv = self._command([sys.executable, "-B", str(PROJECT / "tests/support/said.py"), "--debug", *words])
            return subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=self._environment, cwd=PROJECT
            )

    def run(self, *words: str) -> int:
        return self.start(*words).wait(200)

    def drill(self, inventory: Path | None = None) -> subprocess.Popen[bytes]:
        return self.start("run", str(self.playbook), "--inventory", str(inventory or self.inventory), "--yes", "--json")

    def said(self) -> str:
        """Return the last that it said on stderr."""
        return (self.home / f"err-{self._number}").read_text()

    def killed_after(self, step: str) -> None:
        """Drill, and kill drillctl after a step."""
        known = set(self.home.glob("runs/*"))
        process = self.drill()
        deadline = time.monotonic() + 100
        wanted = f'"event": "outcome", "step": "{step}"'
        while not any(wanted in (new / "journal.jsonl").read_text() for new in set(self.home.glob("runs/*")) - known):
            assert process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def all_ways(self) -> None:
        """Drill to the end; be killed and recovered, as from another machine; be refused in every way there is."""
        # Who looks at every process all the time takes a core from the zones: requests may be lost, and that is said.
        assert self.drill().wait(200) in {0, 1}, self.said()
        report = json.loads((self.home / f"out-{self._number}").read_text())
        assert (report["restore"]["verdict"], report["equality"]["different"]) == ("complete", []), self.said()
        self.killed_after("fault")
        assert self.run("recover", "--inventory", str(self.inventory)) == 0, self.said()
        assert self.run("status", "--inventory", str(self.inventory), "--json") in {0, 4}, self.said()
        assert self.run("run", str(self.playbook), "--inventory", str(self.inventory), "--plan") == 0


def cached(folder: Path, sha256: str) -> Path:
    """Return a cache in which the sample model lies already, for every user of a host."""
    shutil.copytree(SAMPLE, folder / sha256)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


# --- hosts that are processes: the guard starts the service again from its memory ----------------------------------


class ProcessLab:
    """The fallback lab of an ordinary user, with secrets in its inventory."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox = sandbox
        self.folder = folder
        assert sandbox.run(sandbox.drillctl("lab", "up")).returncode == 0
        self.lab = Path(f"/tmp/drillctl-lab-{sandbox.account}")
        self.canaries = planted()
        self.canaries.add_key("the login key", self.lab / "id_ed25519")
        home = folder / "home"
        home.mkdir()
        home.chmod(0o777)
        playbook = folder / "quick.yaml"
        text = PLAYBOOK.replace("IMAGES", str(PROJECT / "playbooks" / "images"))
        playbook.write_text(text.replace("start: {", "guard: {ttl_seconds: 5}\nstart: {"))
        yaml = YAML(typ="safe")
        document = yaml.load((self.lab / "inventory.yaml").read_text())
        sha256 = document["service"]["model"]["sha256"]
        plant(document, self.canaries, cached(folder / "cache", sha256), sha256)
        self.document = document
        inventory = self.write(document, "drillctl-inventory.yaml")
        words = sandbox.command([])
        environment = {**own_environment(self.canaries, home), "PATH": "/usr/bin:/bin", "HOME": "/tmp"}
        # `env -i A=b` at its end would show what it sets to everybody.
        self.drills = Drills(lambda argv: [*words[: words.index("env")], *argv], environment, inventory, playbook)

    def write(self, document: dict[str, Any], name: str) -> Path:
        """Write an inventory beside the lab's own, whose key it names."""
        path = self.lab / name
        with path.open("w") as file:
            YAML(typ="safe").dump(document, file)
        path.chmod(0o644)
        return path

    def spy(self) -> Spy:
        guards = [self.lab / host / "home" / ".drillctl" for host in ("gateway", "zone-a-1", "zone-b-1")]
        return Spy(self.canaries, guards, own=OWN, theirs=OF_DRILLCTL)

    def left(self) -> list[str]:
        """Return the secrets in everything that is left: inventories and the key itself are where they come from."""
        sources = [*self.lab.glob("*inventory*.yaml"), self.lab / "id_ed25519"]
        return [
            *self.canaries.search(files(self.lab, "lab", but=sources)),
            *self.canaries.search(files(self.drills.home, "home")),
            *self.canaries.search(files(self.folder, "temporary", but=[self.drills.home, self.folder / "cache"])),
        ]


@pytest.fixture
def processes(ordinary: Sandbox) -> Iterator[ProcessLab]:
    # Not below pytest's own folder, which it closes to other users whenever another one of it starts.
    with tempfile.TemporaryDirectory(prefix="drillctl-secrets-") as name:
        Path(name).chmod(0o755)
        yield ProcessLab(ordinary, Path(name))


@pytest.mark.lab
def test_no_secret_leaves_its_place_where_hosts_are_processes(processes: ProcessLab) -> None:
    with processes.spy() as spy:
        processes.drills.all_ways()
    assert spy.found == []
    assert processes.left() == []
    # What was searched is what should be: the server ran with the secrets, and the spy saw who ran.
    assert "https://models.example/pack" in "".join(path.read_text() for path in processes.lab.glob("zone-*/*.log"))
    assert any("guard.sh" in line for line in spy.processes)
    assert (processes.drills.home / "said").stat().st_size > 10_000


@pytest.mark.lab
def test_refusals_tell_no_secret(processes: ProcessLab) -> None:
    canaries, drills = processes.canaries, processes.drills
    secret = canaries["service.start.environment"]

    def refused(name: str, change: Callable[[dict[str, Any]], None], code: int) -> None:
        document = YAML(typ="safe").load(processes.drills.inventory.read_text())
        change(document)
        assert drills.drill(processes.write(document, f"inventory-{name}.yaml")).wait(60) == code, drills.said()

    refused("url", lambda d: d["gateway"].update(url=f"http://user:{secret}@127.0.77.1:8000"), 2)
    refused("line", lambda d: d["service"]["start"]["environment"].update(API_TOKEN=f"{secret}\nmore"), 2)
    refused("name", lambda d: d["service"]["start"]["environment"].update({"API TOKEN": secret}), 2)
    refused("type", lambda d: d["service"]["start"].update(environment=secret), 2)
    key = processes.lab / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", canaries["http_proxy"], "-f", str(key)], check=True)
    key.chmod(0o644)
    canaries.add_key("the locked key", key)
    refused("locked", lambda d: d["ssh"].update(key=str(key)), 4)
    key.unlink()
    assert processes.left() == []


@pytest.mark.lab
def test_a_secret_that_leaks_is_found(processes: ProcessLab) -> None:
    """The words of a command are no place for a secret: there the search must find it, in each of these places."""
    document = YAML(typ="safe").load(processes.drills.inventory.read_text())
    start = document["service"]["start"]
    words = [start["interpreter"], *start["command"]]
    start["interpreter"] = "/bin/sh"
    start["command"] = ["-c", 'shift; "$@"; exit', "sh", processes.canaries["service.start.command"], *words]
    inventory = processes.write(document, "leaky-inventory.yaml")
    with processes.spy() as spy:
        assert processes.drills.drill(inventory).wait(200) == 0, processes.drills.said()
    assert any("service.start.command is in the command line" in line for line in spy.found)
    left = processes.left()
    assert "service.start.command is in home:said" in left
    assert any(line.startswith("service.start.command is in home:err") for line in left)


# --- hosts that are machines: syslog, journal and guard folder of each ---------------------------------------------


class Machines:
    """The lab's machines, their service started as a process with secrets in its environment."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.estate = Estate(lab, folder)
        self.canaries = planted()
        self.canaries.add_key("the login key", lab.folder / "id_ed25519")
        self.machines = {host.name: Machine(lab, host.name) for host in lab.hosts}
        for host in ("zone-a-1", "zone-b-1"):
            cache = f"/srv/cache/{lab.model_sha256}"
            self.machines[host].shell(f"systemctl stop inference; mkdir -p {cache}; cp {Path(MODEL).parent}/* {cache}/")
            self.machines[host].shell("mkdir -p /home/drill/secret; chown drill: /home/drill/secret")
        home = folder / "home"
        home.mkdir()
        playbook = self.estate.changed_playbook("start: {", "guard: {ttl_seconds: 5}\nstart: {")
        inventory = self.estate.changed_inventory(lambda document: self._plant(document, lab))
        environment = {**os.environ, **own_environment(self.canaries, home)}
        self.drills = Drills(lambda argv: argv, environment, inventory, playbook)

    def _plant(self, document: dict[str, Any], lab: Lab) -> None:
        document["service"]["start"] = {
            "kind": "process",
            "interpreter": sys.executable,
            "command": ["-m", "inference", "serve"],
            "working_folder": str(PROJECT),
            "pidfile": "/home/drill/secret/inference.pid",
            "log": "/home/drill/secret/inference.log",
            "environment": {"HOST": "0.0.0.0"},
        }
        plant(document, self.canaries, Path("/srv/cache"), lab.model_sha256)

    def spy(self) -> Spy:
        folders = [machine.path(f"/var/lib/drillctl/{name}") for name, machine in self.machines.items()]
        return Spy(self.canaries, folders, own=OWN, theirs=OF_DRILLCTL)

    def left(self) -> list[str]:
        found = self.canaries.search(files(self.drills.home, "home"))
        for name, machine in self.machines.items():
            found += self.canaries.search(files(machine.upper, name, but=[machine.upper / "srv"]))
            found += self.canaries.search(files(machine.path("/run"), f"{name}:/run"))
            found += self.canaries.search(files(machine.path("/tmp"), f"{name}:/tmp"))
            journal = machine.run("journalctl", "--no-pager", "--output=export").encode()
            assert b"sshd" in journal
            found += self.canaries.search([(f"the journal of {name}", journal)])
        return found

    def close(self) -> None:
        for host in ("zone-a-1", "zone-b-1"):
            for pid in self.machines[host].find("-m inference serve"):
                os.kill(pid, signal.SIGKILL)
            self.machines[host].shell("rm -rf /home/drill/secret /srv/cache")
        self.estate.start_servers()


@pytest.fixture
def on_machines(lab: Lab, tmp_path: Path) -> Iterator[Machines]:
    made = Machines(lab, tmp_path)
    yield made
    made.close()


class TestOnMachines:
    pytestmark = ON_MACHINES

    def test_no_secret_leaves_its_place(self, on_machines: Machines) -> None:
        with on_machines.spy() as spy:
            on_machines.drills.all_ways()
        assert spy.found == []
        assert on_machines.left() == []
        assert any("guard.sh" in line for line in spy.processes)
