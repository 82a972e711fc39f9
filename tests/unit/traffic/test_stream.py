"""Traffic from a real prober process against a real server: what it measures is held against the server's own truth."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drillctl.errors import Inconclusive
from drillctl.traffic.detection import Rule
from drillctl.traffic.outage import NoOutage, Outage, count, measure_outage
from drillctl.traffic.probe import Probe
from drillctl.traffic.spec import TrafficSpec
from drillctl.traffic.stream import Traffic


@pytest.fixture
def start(cue, image_files, tmp_path):
    running = []

    def begin(rate=100.0, record=tmp_path / "probes.jsonl", **options):
        spec = TrafficSpec(**{"url": cue.url, "rate": rate, "images": image_files, "timeout": 2.0} | options)
        running.append(Traffic.start(spec, record))
        return running[-1]

    yield begin
    for traffic in running:
        traffic.close()


@pytest.mark.parametrize("down_for", [0.1, 0.4])
def test_measured_outage_is_the_servers_own_truth_within_the_error_bar(cue, start, down_for):
    traffic = start(rate=100)
    time.sleep(0.5)
    fault_at = traffic.mark("fault")
    down_at = cue("down")
    time.sleep(down_for)
    up_at = cue("zone b")
    time.sleep(0.6)
    result = measure_outage(traffic.stop(), fault_at, "b", traffic.spec.interval, sustain=0.3)
    assert isinstance(result, Outage)
    assert abs(result.seconds - (up_at - down_at)) <= result.uncertainty
    assert result.uncertainty < 0.1, "an error bar as wide as the outage would prove nothing"
    assert result.failed_after == 0


def test_outage_of_one_server_that_recovers_alone_is_no_failover(cue, start):
    traffic = start()
    fault_at = cue("down")
    time.sleep(0.1)
    cue("zone a")
    time.sleep(0.4)
    assert not isinstance(measure_outage(traffic.stop(), fault_at, "b", 0.01, 0.2), Outage | NoOutage)


def test_stalled_server_does_not_slow_the_sending(cue, start):
    traffic = start(rate=50, timeout=0.5)
    time.sleep(0.3)
    stalled = cue("stall")
    time.sleep(1.0)
    resumed = cue("zone a")
    time.sleep(0.3)
    probes = traffic.stop()
    during = count(probes, stalled, resumed)
    assert 49 <= during.sent <= 51, "one every 20 ms for a second, answered or not"
    assert max(probe.lag for probe in probes) < 0.1
    assert during.kinds["timeout"] >= 23, "all that were due in the first half"
    given_up = [probe for probe in probes if probe.error == "timeout"]
    assert all(0.5 <= probe.done - probe.sent < 0.6 for probe in given_up)
    arrived = [at for at in cue.report()["arrivals"] if stalled <= at < resumed]
    assert len(arrived) >= 48, "the server itself saw them come while it answered none"
    assert count(probes, resumed).failed == 0


def test_hang_is_detected_long_before_the_timeout(cue, start):
    traffic = start(rate=50, timeout=5.0, slow=0.2)
    time.sleep(0.2)
    fault_at = traffic.mark("fault")
    cue("stall")
    detection = traffic.wait_for_detection(fault_at, Rule(3, slow=0.2), timeout=4)
    assert detection.kinds == {"no answer yet": 3}
    assert 0.2 <= detection.at - fault_at < 0.6
    cue("zone a")


def test_kill_is_detected_within_a_few_intervals(cue, start):
    traffic = start(rate=100)
    fault_at = traffic.mark("fault")
    cue("down")
    detection = traffic.wait_for_detection(fault_at, Rule(3), timeout=3)
    assert detection.at - fault_at < 0.3
    assert set(detection.kinds) <= {"refused", "reset", "closed"}
    assert traffic.marks == {"fault": fault_at}


def test_healthy_service_is_not_detected_as_lost(cue, start):
    traffic = start()
    assert traffic.wait_for_detection(traffic.mark("fault"), Rule(3), timeout=0.4) is None


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("status 502", "status 502"),
        ("hang-up", "closed"),
        ("cut", "closed"),
        ("redirect", "status 307"),
    ],
)
def test_each_request_is_sent_once_and_what_became_of_it_is_recorded(cue, start, line, kind):
    cue(line)
    traffic = start(rate=100)
    time.sleep(0.3)
    probes = traffic.stop()
    report = cue.report()
    assert count(probes).kinds == {kind: len(probes)}
    assert report["requests"] == len(probes) + 2, "the warm-up of each lane, and nothing repeated or followed"
    assert report["paths"] == ["/predict"]


def test_body_that_is_not_json_is_good_and_has_no_digest(cue, start):
    cue("not-json")
    traffic = start()
    time.sleep(0.1)
    probes = traffic.stop()
    assert all(probe.ok and probe.digest is None for probe in probes)


def test_who_served_comes_from_the_headers_that_the_spec_names(cue, start):
    traffic = start(zone_header="x-served-host", host_header="X-Nothing")
    time.sleep(0.1)
    probes = traffic.stop()
    assert {(probe.zone, probe.host) for probe in probes} == {("a-1", None)}
    assert len({probe.digest for probe in probes}) == 1


def test_lanes_take_turns_and_differ_in_their_connections(cue, start):
    traffic = start(rate=100)
    time.sleep(0.5)
    probes = traffic.stop()
    assert [probe.lane for probe in sorted(probes, key=lambda p: p.seq)][:4] == ["fresh", "keepalive"] * 2
    fresh = sum(probe.lane == "fresh" for probe in probes) + 1
    assert fresh < cue.report()["connections"] <= fresh + 5


def test_image_arrives_whole_in_the_field_file(cue, start, image_files):
    traffic = start(images=image_files[1:])
    time.sleep(0.1)
    traffic.stop()
    last = cue.report()["last"]
    boundary = last["content-type"].removeprefix("multipart/form-data; boundary=")
    head, content = last["body"].split("\r\n\r\n", 1)
    assert head.split("\r\n") == [
        f"--{boundary}",
        'Content-Disposition: form-data; name="file"; filename="blue %22ring%22.png"',
        "Content-Type: image/png",
    ]
    assert content.removesuffix(f"\r\n--{boundary}--\r\n").encode("latin-1") == Path(image_files[1]).read_bytes()


def test_proxies_of_the_environment_are_not_used(cue, start, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    traffic = start()
    time.sleep(0.1)
    assert count(traffic.stop()).failed == 0


def test_record_holds_what_is_in_memory(cue, start, tmp_path):
    traffic = start()
    time.sleep(0.2)
    probes = traffic.stop()
    lines = (tmp_path / "probes.jsonl").read_text().splitlines()
    assert [Probe.from_json(line) for line in lines] == probes
    assert sorted(probe.seq for probe in probes) == list(range(len(probes)))
    assert traffic.record_fault is None


def test_full_disk_is_said_and_does_not_stop_the_measurement(cue, start):
    traffic = start(record=Path("/dev/full"))
    time.sleep(0.2)
    assert len(traffic.stop()) > 10
    assert traffic.record_fault == "/dev/full: No space left on device"


def test_wait_for_returns_as_soon_as_the_predicate_holds(cue, start):
    traffic = start()
    since = traffic.mark("here")
    found = traffic.wait_for(lambda probes: probes if len(probes) >= 5 else None, timeout=3, since=since)
    assert len(found) == 5
    assert all(probe.scheduled >= since for probe in found)
    assert traffic.wait_for(lambda _: None, timeout=0.05) is None
    assert len(traffic.probes(since)) >= 5


def test_rate_of_200_is_held(cue, start):
    traffic = start(rate=200)
    time.sleep(0.2)
    since = traffic.mark("one second")
    time.sleep(1.3)
    counts = count(traffic.stop(), since, since + 1)
    assert 199 <= counts.sent <= 201
    assert counts.failed == 0
    assert traffic.lag.p50 < 0.01
    assert traffic.lag.p50 <= traffic.lag.p99 <= traffic.lag.max


def test_prober_that_dies_makes_the_drill_inconclusive(cue, start):
    traffic = start()
    os.kill(traffic._prober.pid, signal.SIGKILL)
    with pytest.raises(Inconclusive, match="ended by itself with exit code -9") as caught:
        traffic.wait_for(lambda _: None, timeout=5)
    assert "nothing is measured any more" in caught.value.state
    with pytest.raises(Inconclusive):
        traffic.wait_for_detection(0.0, Rule(3), timeout=5)
    with pytest.raises(Inconclusive):
        traffic.stop()


def test_image_that_cannot_be_read_is_said_at_the_start(start, tmp_path):
    with pytest.raises(Inconclusive, match=r"image .*gone.jpg cannot be read: No such file"):
        start(images=(str(tmp_path / "gone.jpg"),))


def test_interrupt_in_the_terminal_does_not_end_the_traffic(cue, start):
    traffic = start()
    os.kill(traffic._prober.pid, signal.SIGINT)
    time.sleep(0.2)
    assert len(traffic.stop()) > 10


def test_traffic_ends_when_drillctl_is_killed(cue, image_files, tmp_path):
    """The engine's process is killed outright; its prober must not go on sending."""
    spec = TrafficSpec(url=cue.url, rate=50, images=image_files)
    engine = subprocess.Popen(
        [sys.executable, "-c", _ENGINE, spec.model_dump_json(), str(tmp_path / "probes.jsonl")],
        stdout=subprocess.PIPE,
        text=True,
    )
    prober = int(engine.stdout.readline())
    time.sleep(0.2)
    engine.kill()
    engine.wait()
    engine.stdout.close()
    deadline = time.monotonic() + 3
    while Path(f"/proc/{prober}/stat").exists() and _state(prober) != "Z":
        assert time.monotonic() < deadline, "the prober outlived its drill"
        time.sleep(0.02)
    requests = cue.report()["requests"]
    time.sleep(0.1)
    assert cue.report()["requests"] == requests > 2


_ENGINE = """
import sys, time
from pathlib import Path
from drillctl.traffic.spec import TrafficSpec
from drillctl.traffic.stream import Traffic
traffic = Traffic.start(TrafficSpec.model_validate_json(sys.argv[1]), Path(sys.argv[2]))
print(traffic._prober.pid, flush=True)
time.sleep(60)
"""


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"
