"""Runs that have ended, told in letters: each is one request, in the order in which they were due."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from drillctl.compare.equality import Exact, compare, digest
from drillctl.drill import Ending
from drillctl.report import keep, stored
from drillctl.report.model import Report, make_report
from drillctl.run import StepRecord
from drillctl.survey import Health, HostSurvey
from drillctl.traffic.probe import Probe

if TYPE_CHECKING:
    from drillctl.report.stored import StoredRun
    from drillctl.run import Run

RECORDED = Path(__file__).parents[1] / "cases" / "report" / "recorded"
"""The folder of a real drill in the lab, as it was left."""

BASELINE = {"blue.png": b'{"label": "blue"}', "red.jpg": b'{"label": "red"}'}
BEGAN = 1000.0
PASSED = "P" * 30 + "|" + "x" * 7 + "S" * 33 + "/" + "S" * 10 + "P" * 20
"""Three seconds of the primary, a fault, seven lost requests, the standby, the way back, the primary."""


def probe(seq: int, letter: str, due: float) -> Probe:
    """Return a request: P and S are good answers of primary and standby, W one of other content, x a 502."""
    image = sorted(BASELINE)[seq % 2]
    zone = {"P": "zone-a", "S": "zone-b", "W": "zone-b"}.get(letter)
    content = b'{"label": "green"}' if letter == "W" else BASELINE[image]
    return Probe(
        seq=seq,
        lane="fresh",
        image=image,
        scheduled=due,
        sent=due,
        done=due + (0.02 if zone else 0.002),
        status=200 if zone else 502,
        error=None,
        zone=zone,
        host=zone and f"{zone}-1",
        digest=digest(content) if zone else None,
        missed=False,
    )


class Told:
    """A run made from letters: `|` is where the fault begins, `/` where the restore does."""

    def __init__(self, run: Run, letters: str = PASSED) -> None:
        self.run = run
        interval = 1 / run.playbook.traffic.rate
        due = BEGAN
        seq = 0
        for letter in letters:
            if letter == "|":
                run.moments.fault_began = due - 0.01
                run.moments.fault_proven = due + 0.04
            elif letter == "/":
                run.moments.restore_began = due - 0.01
            else:
                run.findings.probes.append(probe(seq, letter, due))
                seq, due = seq + 1, due + interval
        run.moments.traffic_ended = due
        run.began = BEGAN - 2
        run.findings.baseline = BASELINE
        run.findings.standby_before = compare(BASELINE, BASELINE, Exact())
        sha = run.inventory.service.model.sha256
        for host in run.zone_hosts():
            zone = run.inventory.zone_of(host.name)
            assert zone is not None
            run.findings.surveys[host.name] = HostSurvey(
                host.name,
                zone.name,
                zone.role,
                host.address,
                "/m",
                Health("healthy", ready=True),
                sha256_disk=sha,
                sha256_loaded=sha,
            )
        if run.moments.fault_began is not None:
            run.moments.detected = run.moments.fault_began + 0.25
            run.moments.active = run.moments.fault_began + 0.4
            run.findings.standby_serving = compare(BASELINE, BASELINE, Exact())
        run.findings.config_identical = True
        run.changed = True

    def step(self, name: str, host: str, section: Any, started: float, detail: str, status: Any = "ok") -> None:
        self.run.records.append(StepRecord(name, host, section, status, started, 0.5, detail))

    def report(self, ending: Ending | None = None) -> Report:
        """Return the report, in which nothing changes from one day or machine to the next."""
        made = make_report(self.run, ending or Ending(), "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:12.000Z", 12.0)
        return made.model_copy(update={"folder": "/home/me/runs/20260101T000000Z-loss-of-zone-0000"})

    def stored(self, ending: Ending | None = None, report: Report | None = None) -> StoredRun:
        """Leave a folder as a drill does, and read it again."""
        report = report or self.report(ending)
        folder = self.run.folder
        record = "".join(probe.to_json() + "\n" for probe in self.run.findings.probes)
        (folder / "probes.jsonl").write_text(record, encoding="utf-8")
        self.run.journal.record("run", run_id=report.run_id)
        self.run.journal.record("verdict", verdict=report.verdict)
        stored.keep_sources(folder, self.run.inventory, self.run.playbook)
        complaints: list[str] = []
        keep.keep_report(self.run, report, complaints.append)
        assert complaints == []
        return stored.read(folder)
