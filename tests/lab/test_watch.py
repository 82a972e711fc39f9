"""A patrol of real hosts: what it sees, says, stores and tells; and that it leaves everything as it is."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import requests
from estate import CONFIG, MODEL, ON_MACHINES, Estate
from receiver import Receiver

from drillctl.history.store import History

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drillctl.lab import Lab

pytestmark = ON_MACHINES


@pytest.fixture
def estate(lab: Lab, tmp_path: Path) -> Iterator[Estate]:
    """An estate in its steady state, which is the same again at the end."""
    made = Estate(lab, tmp_path)
    made.start_servers()
    before = made.state()
    yield made
    assert made.state() == before


class Watching:
    """A `drillctl watch` that runs; `out` is what it has printed so far."""

    def __init__(self, process: subprocess.Popen[bytes], file: Path) -> None:
        self.process = process
        self._file = file

    @property
    def out(self) -> str:
        return self._file.read_text()

    def wait_for(self, pattern: str, timeout: float = 40) -> str:
        """Wait until a line that matches was printed; return it."""
        deadline = time.monotonic() + timeout
        while True:
            found = [line for line in self.out.splitlines() if re.search(pattern, line)]
            if found:
                return found[-1]
            assert self.process.poll() is None, self.out
            assert time.monotonic() < deadline, self.out
            time.sleep(0.05)

    def metric(self, name: str) -> float:
        """Return the value of a metric, as Prometheus would get it."""
        address = re.search(r"http://\S+/metrics", self.wait_for("# metrics at"))
        assert address is not None
        text = requests.get(address[0], timeout=5).text
        (line,) = [line for line in text.splitlines() if line.startswith(name)]
        return float(line.rsplit(" ", 1)[1])


@contextmanager
def watching(estate: Estate, inventory: Path, *words: str, **more: str) -> Iterator[Watching]:
    file = estate.folder / "watch.out"
    command = [sys.executable, "-m", "drillctl", "watch", "--inventory", str(inventory), "--every", "1s", *words]
    environment = {**os.environ, "DRILLCTL_HOME": str(estate.home), **more}
    with file.open("wb") as out, (estate.folder / "watch.err").open("wb") as err:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment)
    try:
        yield Watching(process, file)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, file.read_text()
        assert (estate.folder / "watch.err").read_text() == ""
    finally:
        process.kill()
        process.wait()


def with_channel(document: dict[str, Any]) -> None:
    document["notify"] = [{"name": "ops", "environment": "OPS_URL"}]


def test_a_killed_server_and_a_changed_config_are_seen_and_their_recovery_too(estate: Estate) -> None:
    began = datetime.now(UTC)
    inventory = estate.changed_inventory(with_channel)
    with Receiver() as receiver:
        url = f"json://127.0.0.1:{receiver.port}/hook-s3cret"
        with watching(estate, inventory, "--metrics", "127.0.0.1:0", OPS_URL=url) as watch:
            watch.wait_for(r" started ")
            time.sleep(3)
            assert len(watch.out.splitlines()) == 2, "all is well, so nothing is said"
            assert watch.metric('drillctl_server_ready{host="zone-b-1"') == 1
            assert watch.metric('drillctl_zone_serving{inventory="lab-systemd",zone="zone-a"}') == 1

            estate.on("zone-b-1", "systemctl stop inference")
            watch.wait_for(r" suspect   zone-b-1: its server does not answer \(look 1 of 2\)")
            watch.wait_for(r" ALARM     zone-b-1: its server does not answer")
            assert watch.metric('drillctl_server_ready{host="zone-b-1"') == 0
            assert watch.metric('drillctl_alarm{inventory="lab-systemd",kind="health",place="zone-b-1"}') == 1
            estate.on("zone-b-1", "systemctl start inference")
            watch.wait_for(r" recovered no longer: zone-b-1: .* \(after \d+ s\)", 60)

            estate.on("gateway", f"cp -p {CONFIG} /tmp/original && echo '# by hand' >> {CONFIG}")
            watch.wait_for(r" ALARM     gateway: its config was changed outside drillctl: it is \w{12}, it was \w{12}")
            estate.on("gateway", f"cp -p /tmp/original {CONFIG} && rm /tmp/original")
            watch.wait_for(r" recovered no longer: gateway: its config was changed")
            receiver.wait(4)
        titles = [document["title"] for document in receiver.got]
        assert [re.sub(r".*\): ", "", title)[:20] for title in titles] == [
            "ALARM: zone-b-1: its",
            "recovered: zone-b-1:",
            "ALARM: gateway: its ",
            "recovered: gateway: ",
        ]
        assert "s3cret" not in watch.out
    with History.open(f"sqlite:///{estate.home / 'history.db'}") as history:
        samples = history.samples("lab-systemd", "zone-b-1", began, datetime.now(UTC))
    assert {sample.ready for sample in samples} == {True, False}
    gaps = [(second.at - first.at).total_seconds() for first, second in pairwise(samples[1:])]
    assert min(gaps) > 0.5, "looks never come in a bunch"


def test_what_a_drill_breaks_is_noted_and_no_alarm(estate: Estate) -> None:
    with watching(estate, estate.inventory, "--hold", "1") as watch:
        watch.wait_for(" started ")
        drilled = estate.drill()
        assert drilled.code == 0, drilled.err
        run = drilled.report["run_id"]
        watch.wait_for(rf" drill     {run} is going on, by ")
        watch.wait_for(rf" drill     {run} has given its lease back")
        time.sleep(3)
        assert "ALARM" not in watch.out
        # Outside a drill, the same is one.
        pid = estate.pid("zone-b-1")
        estate.on("zone-b-1", f"kill -STOP {pid}")
        watch.wait_for(" ALARM     zone-b-1: its server does not answer")
        estate.on("zone-b-1", f"kill -CONT {pid}")
        watch.wait_for(" recovered ")


def test_once_is_one_document_and_its_exit_code(estate: Estate) -> None:
    words = ("watch", "--inventory", str(estate.inventory), "--once", "--json", "--no-store")
    well = estate.run(*words)
    assert well.code == 0, well.out + well.err
    document = well.report
    assert (document["schema_version"], document["ok"], document["findings"]) == (1, True, [])
    assert document["gateway"]["serving_zone"] == document["gateway"]["configured_zone"] == "zone-a"
    pinned = {host["sha256_disk"] for host in document["hosts"]} | {host["sha256_loaded"] for host in document["hosts"]}
    assert len(pinned) == 1
    assert None not in pinned
    estate.on("zone-b-1", f"cp -p {MODEL} /tmp/model && printf x >> {MODEL}")
    try:
        spoiled = estate.run(*words)
    finally:
        estate.on("zone-b-1", f"cp -p /tmp/model {MODEL} && rm /tmp/model")
    assert spoiled.code == 4
    assert [(one["kind"], one["place"]) for one in spoiled.report["findings"]] == [("model-disk", "zone-b-1")]
    assert not (estate.home / "history.db").exists()


def test_a_changed_host_key_is_refused_and_said(estate: Estate) -> None:
    other = (estate.lab.inventory.parent / "known_hosts").read_text().replace("198.18.77.12", "198.18.77.11", 1)
    lines = [line for line in other.splitlines() if "198.18.77.11" in line][-1:]
    rest = [line for line in other.splitlines() if "198.18.77.11" not in line]
    (estate.folder / "known_hosts").write_text("\n".join([*rest, *lines]) + "\n")

    def swap(document: dict[str, Any]) -> None:
        document["ssh"]["known_hosts"] = str(estate.folder / "known_hosts")

    done = estate.run("watch", "--inventory", str(estate.changed_inventory(swap)), "--once", "--json", "--no-store")
    assert done.code == 4
    kinds = {(one["kind"], one["place"]) for one in json.loads(done.out)["findings"]}
    assert ("host-key", "zone-a-1") in kinds or ("host-key", "zone-b-1") in kinds, done.out
