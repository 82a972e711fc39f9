"""The host in memory keeps the promises of a real one, so that what is tested with it holds."""

from __future__ import annotations

import pytest

from drillctl.errors import CommandFailed, Unreachable
from drillctl.hosts import http
from drillctl.hosts.scripted import Answer, Page, Ran, ScriptedTransport


def test_the_longest_fitting_words_answer() -> None:
    host = ScriptedTransport("a-1", {("cat",): Answer(b"any"), ("cat", "--", "/etc/x"): Answer(b"x\n")})
    assert host.read_file("/etc/x") == b"x\n"
    assert host.read_file("/etc/y") == b"any"
    assert [ran.argv for ran in host.ran] == [("cat", "--", "/etc/x"), ("cat", "--", "/etc/y")]


def test_an_unknown_command_is_not_found() -> None:
    with pytest.raises(CommandFailed, match="a-1: `no such` ended with exit code 127: sh: 1: no: not found"):
        ScriptedTransport("a-1", {}).run(["no", "such"])


def test_a_rule_sees_words_input_and_privilege() -> None:
    def rule(ran: Ran) -> Answer | None:
        return Answer(ran.stdin.upper(), exit_code=len(ran.argv)) if ran.privileged else None

    host = ScriptedTransport("a-1", rule, sudo=True)
    done = host.run(["tee", "it's"], stdin=b"abc", privileged=True, check=False)
    assert (done.exit_code, done.stdout) == (2, b"ABC")
    assert host.ran == [Ran(("tee", "it's"), b"abc", privileged=True)]


def test_a_failing_host_fails_everything() -> None:
    host = ScriptedTransport("a-1", {("true",): Answer()}, server=lambda address, path, body: Page(b"ok"))
    assert host.alive()
    host.fail = Unreachable("no end of `true` within 30 s", host="a-1")
    with pytest.raises(Unreachable, match="no end of `true`"):
        host.run(["true"])
    with pytest.raises(Unreachable, match="no end of `true`"):
        http.request(host, "10.0.0.1", 80, "/")
    assert not host.alive()


def test_pages_are_served_by_path_and_body() -> None:
    host = ScriptedTransport(
        "gateway", {}, server=lambda address, path, body: Page(body + path.encode(), 201, {"X-Served-Zone": "zone-a"})
    )
    reply = http.request(host, "10.0.0.1", 80, "/predict", body=b"image ", content_type="image/png")
    assert (reply.status, reply.body, reply.headers["x-served-zone"]) == (201, b"image /predict", "zone-a")
    assert http.request(host, "10.0.0.1", 80, "/health").body == b"/health"
    assert host.asked == ["10.0.0.1:80/predict", "10.0.0.1:80/health"]


def test_without_a_server_nobody_listens() -> None:
    with pytest.raises(Unreachable, match=r"10.0.0.1:80 does not accept connections from here"):
        http.request(ScriptedTransport("gateway", {}), "10.0.0.1", 80, "/")
    mute = ScriptedTransport("gateway", {}, server=lambda address, path, body: None)
    with pytest.raises(Unreachable, match=r"10.0.0.1:80/ gave no answer"):
        http.request(mute, "10.0.0.1", 80, "/")
