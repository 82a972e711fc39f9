"""What a zone host says of itself, on scripted hosts: whatever it answers, the survey is data and not a traceback."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from drillctl import survey
from drillctl.errors import CommandFailed, Unreachable
from drillctl.hosts.fleet import Fleet
from drillctl.hosts.http import Reply
from drillctl.hosts.scripted import Answer, Page, Ran, ScriptedTransport
from drillctl.overview import wrong_role
from drillctl.survey import Health, HostSurvey

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.inventory import Inventory

SHA = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
INFO = {"service": "main", "is_primary": True, "device": "cpu", "model": {"sha256": SHA}}


def well(ran: Ran) -> Answer:
    if ran.argv[0] == "sha256sum":
        return Answer(f"{SHA}  {ran.argv[-1]}\n".encode())
    return Answer(b"LoadState=loaded\nActiveState=active\nSubState=running\nPids=42\nHeld=no\n")


def pages(health: Page | None, info: Page | None) -> Callable[[str, str, bytes], Page | None]:
    return lambda address, path, body: health if path == "/health" else info


HEALTHY = Page(b'{"status": "healthy", "uptime_sec": 12}')
ALL_WELL = pages(HEALTHY, Page(json.dumps(INFO).encode()))


def asked(
    estate: Inventory,
    replies: Callable[[Ran], Answer | None] = well,
    server: Callable[[str, str, bytes], Page | None] | None = ALL_WELL,
    **options: bool,
) -> HostSurvey:
    host = estate.zone("primary").hosts[0]
    transports = {"a-1": ScriptedTransport("a-1", replies), "gateway": ScriptedTransport("gateway", {}, server=server)}
    return survey.survey(estate, Fleet(estate, transports), host, **options)


def test_a_host_that_is_well(estate: Inventory) -> None:
    found = asked(estate)
    assert found.problem is None
    assert found.health == Health("healthy", ready=True, uptime_sec=12.0)
    assert (found.zone, found.role, found.device) == ("zone-a", "primary", "cpu")
    assert found.sha256_disk == found.sha256_loaded == SHA
    assert found.service is not None
    assert found.service.pids == (42,)


def test_a_host_that_is_not_connected(estate: Inventory) -> None:
    found = survey.survey(estate, Fleet(estate, {}), estate.zone("primary").hosts[0])
    assert found.problem == "not connected"
    assert not found.health.ready


def test_a_server_is_asked_from_its_own_host_when_the_gateway_was_given_up(estate: Inventory) -> None:
    host = estate.zone("primary").hosts[0]
    gateway = ScriptedTransport("gateway", {})
    fleet = Fleet(estate, {"a-1": ScriptedTransport("a-1", well, server=ALL_WELL), "gateway": gateway})
    fleet.hang_up("gateway")
    assert gateway.closed
    assert survey.survey(estate, fleet, host).health.ready
    fleet.hang_up("a-1")
    assert survey.way_to(estate, fleet, host)[0].host == "a-1"


def test_the_hash_is_left_out_where_it_is_not_wanted(estate: Inventory) -> None:
    assert asked(estate, hash_model=False).sha256_disk is None


def test_each_trouble_is_told_and_the_rest_is_still_found(estate: Inventory) -> None:
    def ill(ran: Ran) -> Answer:
        if ran.argv[0] == "sha256sum":
            return Answer(exit_code=1, stderr=b"sha256sum: /srv/model: No such file or directory\n")
        return Answer(b"LoadState=not-found\n")

    found = asked(estate, ill, pages(HEALTHY, None))
    assert found.problem is not None
    assert "there is no systemd unit inference.service (LoadState=not-found)" in found.problem
    assert "hashing /srv/model/model.safetensors ended with exit code 1" in found.problem
    assert "/info gave no answer" in found.problem
    assert found.health.ready
    assert found.sha256_disk is None


@pytest.mark.parametrize(
    ("body", "status", "health"),
    [
        (b'{"status": "healthy", "uptime_sec": 3}', 200, Health("healthy", ready=True, uptime_sec=3.0)),
        (b'{"status": "loading", "progress": 0.5}', 503, Health("loading", ready=False)),
        (b'{"status": "failed", "reason": "no GPU"}', 503, Health("failed", ready=False, reason="no GPU")),
        (b"<html>", 502, Health("HTTP 502", ready=False)),
        (b"[]", 200, Health("HTTP 200", ready=True)),
        (b'{"status": null, "uptime_sec": "long"}', 200, Health("None", ready=True)),
        (b'{"status": "ok", "uptime_sec": %s}' % (b"9" * 400), 200, Health("ok", ready=True)),
        (b'{"status": "ok", "uptime_sec": NaN}', 200, Health("ok", ready=True)),
        (b'{"status": "ok", "uptime_sec": true}', 200, Health("ok", ready=True)),
        (b'{"status": "a\\u0000b\\u001b[2J"}', 200, Health("a\\x00b\\x1b[2J", ready=True)),
        (b'{"status": "\\ud800"}', 200, Health("HTTP 200", ready=True)),
        (b"[" * 200_000, 200, Health("HTTP 200", ready=True)),
        (b'{"a":' * 900 + b"1" + b"}" * 900, 200, Health("HTTP 200", ready=True)),
    ],
)
def test_health_is_read_whatever_it_says(body: bytes, status: int, health: Health) -> None:
    assert survey.read_health(Reply(status, {}, body, 0.0)) == health


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'{"model": "x"}', b'{"model": {"sha256": null}}', b"\xff"])
def test_an_info_that_says_nothing_of_the_model_leaves_it_unknown(estate: Inventory, body: bytes) -> None:
    assert asked(estate, server=pages(HEALTHY, Page(body))).sha256_loaded is None


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (["x"], "['x']"),
        (5, "5"),
        (True, "True"),
        ("0" * 63, "0" * 63),
        (f"{SHA}\n", f"{SHA}\\n"),
        ("é" * 10_000, "é" * 80 + "…"),
    ],
    ids=str,
)
def test_what_a_server_gives_for_a_hash_and_is_none_is_a_problem_of_its_host(
    estate: Inventory, said: object, shown: str
) -> None:
    found = asked(estate, server=pages(HEALTHY, Page(json.dumps({"model": {"sha256": said}, "device": [1]}).encode())))
    assert (found.sha256_loaded, found.device) == (None, None)
    assert found.problem == f"its server gives `{shown}` for the model's sha256"
    assert found.health.ready


def test_a_loaded_models_hash_may_be_in_capitals(estate: Inventory) -> None:
    page = Page(json.dumps({"model": {"sha256": SHA.upper()}}).encode())
    assert asked(estate, server=pages(HEALTHY, page)).sha256_loaded == SHA


@pytest.mark.parametrize(
    ("said", "digest"),
    [
        (f"{SHA}  /m\n", SHA),
        (f"\\{SHA}  /m\\nodel\n", SHA),
        (f"{SHA.upper()} */m\n", SHA),
    ],
)
def test_a_hash_is_read_as_sha256sum_prints_it(said: str, digest: str) -> None:
    host = ScriptedTransport("a-1", {("sha256sum", "--"): Answer(said.encode())})
    assert survey.model_hash(host, "/m") == digest


@pytest.mark.parametrize("said", [b"", b"abc  /m\n", b"sha256sum: warning\n", b"g" * 64 + b"  /m\n"])
def test_what_is_no_hash_is_refused(said: bytes) -> None:
    host = ScriptedTransport("a-1", {("sha256sum", "--"): Answer(said)})
    with pytest.raises(CommandFailed, match="hashing /m said"):
        survey.model_hash(host, "/m")


def test_machine_and_boot_ids_are_two_words_or_an_error() -> None:
    good = ScriptedTransport("a-1", {("sh", "-c"): Answer(b"machine\nboot\n")})
    assert survey.machine_facts(good) == ("machine", "boot")
    for said in (b"", b"only-one\n", b"one two three\n"):
        with pytest.raises(CommandFailed, match="machine-id and boot-id read as"):
            survey.machine_facts(ScriptedTransport("a-1", {("sh", "-c"): Answer(said)}))


@pytest.mark.parametrize(
    ("upstream", "way"),
    [
        (None, ("10.0.1.1", 8000)),
        ("zone-a.internal:81", ("zone-a.internal", 81)),
        ("[fd00::1]:8100", ("fd00::1", 8100)),
        ("zone-a.internal", ("zone-a.internal", 8000)),
    ],
)
def test_a_server_is_asked_where_the_gateway_asks_it(
    estate: Inventory, upstream: str | None, way: tuple[str, int]
) -> None:
    host = estate.zone("primary").hosts[0].model_copy(update={"upstream": upstream})
    gateway, own = ScriptedTransport("gateway", {}), ScriptedTransport("a-1", {})
    assert survey.way_to(estate, Fleet(estate, {"gateway": gateway, "a-1": own}), host) == (gateway, *way)
    assert survey.way_to(estate, Fleet(estate, {"a-1": own}), host) == (own, *way), "where the gateway is lost"


@pytest.mark.parametrize(
    ("role", "info", "wrong"),
    [
        ("primary", INFO, False),
        ("standby", {"service": "backup", "is_primary": False}, False),
        ("standby", INFO, True),
        ("primary", {"service": "main", "is_primary": False}, True),
        ("primary", {"service": "main", "is_primary": "yes"}, True),
        ("primary", {}, True),
    ],
)
def test_a_server_must_say_the_role_that_its_zone_has(role: str, info: dict[str, object], wrong: bool) -> None:
    found = wrong_role(HostSurvey("a-1", "zone-a", role, "10.0.1.1", "/m", info=info))
    assert (found is not None) is wrong
    if found is not None:
        assert "SERVICE_NAME" in found


def test_why_joins_an_error_and_its_hint() -> None:
    assert survey.why(Unreachable("no answer", host="a-1", hint="look")) == "a-1: no answer; look"
    assert survey.why(Unreachable("no answer")) == "no answer"
