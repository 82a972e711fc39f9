"""The prober as a program: its specification, its output and how it ends."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time

import pytest

from drillctl.traffic.probe import Probe
from drillctl.traffic.prober import lag_figures, read_spec


@pytest.fixture
def spec(cue, image_files):
    return {"url": cue.url, "rate": 100, "images": image_files, "timeout": 1.0}


def run(line, **options):
    return subprocess.run(
        [sys.executable, "-m", "drillctl.traffic.prober"],
        input=line,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        **options,
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rate": 0}, "rate: Input should be greater than 0"),
        ({"rates": 50}, "rates: Extra inputs are not permitted"),
        ({"url": "ftp://gateway"}, "url: String should match"),
        ({"images": []}, "images: Tuple should have at least 1 item"),
        ({"images": ["/a/x.jpg", "/b/x.jpg"]}, "two images are called x.jpg"),
        ({"images": ["/nowhere/x.jpg"]}, "image /nowhere/x.jpg cannot be read: No such file or directory"),
        ({"lanes": ["pigeon"]}, "lanes.0: Input should be 'fresh' or 'keepalive'"),
    ],
)
def test_specification_that_cannot_be_used_is_refused_in_one_line(image_files, capsys, change, said):
    usable = {"url": "http://127.0.0.1:9/predict", "rate": 100, "images": image_files}
    with pytest.raises(SystemExit) as ended:
        read_spec(json.dumps({**usable, **change}).encode())
    assert ended.value.code == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.startswith("prober: ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("line", ["", "not json\n"])
def test_no_specification_is_refused_in_one_line(line):
    ended = run(line)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("url", ["http://gateway:99999/predict", "http://a..b/predict"])
def test_address_that_is_none_is_refused_in_one_line(spec, url):
    ended = run(json.dumps({**spec, "url": url}) + "\n")
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert f"the address {url} cannot be used" in ended.stderr


def test_load_that_may_need_more_descriptors_than_allowed_is_refused(spec):
    line = json.dumps({**spec, "rate": 200, "timeout": 5}) + "\n"
    limited = ["sh", "-c", f"ulimit -n 512; exec {sys.executable} -m drillctl.traffic.prober"]
    ended = subprocess.run(limited, input=line, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 2
    assert "need 1064 open files, and only 512 are allowed" in ended.stderr


def begin(spec):
    process = subprocess.Popen(
        [sys.executable, "-m", "drillctl.traffic.prober"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdin.write(json.dumps(spec) + "\n")
    process.stdin.flush()
    return process


@pytest.mark.parametrize("how", ["stop", "end of input"])
def test_output_is_ready_then_probes_then_end(cue, spec, how):
    process = begin(spec)
    ready = json.loads(process.stdout.readline())
    assert (ready["event"], ready["interval"]) == ("ready", 0.01)
    assert abs(ready["start"] - time.monotonic()) < 1
    time.sleep(0.2)
    output, errors = process.communicate("stop\n" if how == "stop" else None, timeout=10)
    *rows, end = output.splitlines()
    probes = [Probe.from_json(row) for row in rows]
    assert process.returncode == 0
    assert errors == ""
    assert json.loads(end)["sent"] == len(probes) > 10
    assert json.loads(end)["event"] == "end"
    assert all(abs(p.scheduled - (ready["start"] + p.seq * 0.01)) < 1e-5 for p in probes)


def test_requests_in_flight_are_waited_for_at_the_end(cue, spec):
    process = begin(spec)
    process.stdout.readline()
    time.sleep(0.1)
    cue("stall")
    time.sleep(0.1)
    process.stdin.write("stop\n")
    process.stdin.flush()
    time.sleep(0.2)
    cue("zone a")
    output, _ = process.communicate(timeout=10)
    waited = [Probe.from_json(row) for row in output.splitlines()[:-1]]
    assert all(probe.ok for probe in waited)
    assert max(probe.latency for probe in waited) > 0.2


def test_probe_is_reported_as_it_ends(cue, spec):
    process = begin(spec)
    process.stdout.readline()
    heard = [(Probe.from_json(process.stdout.readline()), time.monotonic()) for _ in range(20)]
    process.communicate("stop\n", timeout=10)
    assert sorted(at - probe.done for probe, at in heard)[10] < 0.05


def test_prober_ends_when_nobody_reads(cue, spec):
    process = begin(spec)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(5) == 0
    process.stdin.close()
    process.stderr.close()


def test_plain_server_is_no_trusted_tls_server(spec):
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        threading.Thread(target=answer_in_plain, args=(listener,), daemon=True).start()
        process = begin({**spec, "url": f"https://127.0.0.1:{listener.getsockname()[1]}/predict"})
        process.stdout.readline()
        time.sleep(0.1)
        output, _ = process.communicate("stop\n", timeout=10)
    assert {Probe.from_json(row).error for row in output.splitlines()[:-1]} == {"tls"}


def answer_in_plain(listener):
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_lag_is_given_by_nearest_rank():
    assert lag_figures([0.003, 0.001, 0.002]) == {"lag_p50": 0.002, "lag_p99": 0.003, "lag_max": 0.003}
    assert lag_figures([]) == {"lag_p50": 0.0, "lag_p99": 0.0, "lag_max": 0.0}
