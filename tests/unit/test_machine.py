"""What a machine says of itself: read from a real shell, and its clock compared with ours."""

from __future__ import annotations

import platform
import time
from pathlib import Path

import pytest

from drillctl.errors import Unreachable
from drillctl.hosts.local import LocalTransport
from drillctl.hosts.scripted import Answer, Ran, ScriptedTransport
from drillctl.machine import look


def test_a_real_machine_is_what_it_is() -> None:
    found = look(LocalTransport("here"), "sh-that-is-not-there", "nginx")
    assert found.problem is None
    assert found.kernel == f"{platform.system()} {platform.release()} {platform.machine()}"
    assert found.machine_id == Path("/etc/machine-id").read_text().strip()
    assert set(found.software) == {"nginx"}
    assert found.software["nginx"].startswith("nginx/1.")
    assert found.clock_offset is not None
    assert found.clock_error is not None
    assert abs(found.clock_offset) <= found.clock_error + 0.01
    assert found.clock_error < 1


@pytest.mark.parametrize("ahead", [-5.0, 0.0, 3600.0])
def test_a_clock_that_is_off_is_off_by_so_much(ahead: float) -> None:
    def reply(ran: Ran) -> Answer:
        return Answer(f"{time.time() + ahead:.9f}\n".encode() if ran.argv[0] == "date" else b"kernel=Linux\n")

    found = look(ScriptedTransport("a-1", reply))
    assert found.clock_offset == pytest.approx(ahead, abs=0.05)


def test_a_date_without_nanoseconds_gives_no_offset() -> None:
    found = look(ScriptedTransport("a-1", lambda ran: Answer(b"1767225600.%N\n" if ran.argv[0] == "date" else b"")))
    assert (found.clock_offset, found.clock_error, found.problem) == (None, None, None)


def test_a_host_that_does_not_answer_is_a_problem_and_no_exception() -> None:
    def reply(ran: Ran) -> Answer:
        raise Unreachable("no answer within 5 s", host="a-1")

    assert look(ScriptedTransport("a-1", reply)).problem == "no answer within 5 s"
