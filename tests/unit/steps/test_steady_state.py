"""The environment of the steady state: what differs on any host, and what nobody knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drillctl import inventory as inventories
from drillctl.errors import GatewayError, NotStarted
from drillctl.gateway.scripted import ScriptedGateway
from drillctl.hosts.fleet import Fleet
from drillctl.steps import steady_state
from drillctl.survey import HostSurvey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drillctl.inventory import Inventory
    from drillctl.run import Run

SAME = {"model": {"sha256": "ab" * 32}, "fingerprint": {"torch": "2.15.0"}}


def surveyed(run: Run, *standbys: dict[str, object]) -> Run:
    """Have the primary and so many hosts of the standby publish what they do, and check only the environment."""
    infos = {"a-1": SAME, **{f"b-{number}": info for number, info in enumerate(standbys, start=1)}}
    run.findings.surveys = {
        name: HostSurvey(name, "zone", "primary" if name == "a-1" else "standby", "10.0.0.9", "/m", info=info)
        for name, info in infos.items()
    }
    return run


def environment(run: Run) -> str:
    return steady_state._environment(run)


def test_one_environment_is_the_same_in_every_zone(make_run: Callable[..., Run]) -> None:
    run = surveyed(make_run(), SAME)
    assert environment(run) == "the same in every zone"
    assert run.findings.not_proven == []


def test_what_only_one_zone_publishes_is_not_proven(make_run: Callable[..., Run]) -> None:
    run = surveyed(make_run(), {"model": SAME["model"], "versions": {"python": "3.13"}})
    assert environment(run) == "no difference is known to change outputs; 1 of unknown effect; 1 harmless"
    (said,) = run.findings.not_proven
    assert said.startswith("same environment: fingerprint.torch: 2.15.0 and not published (only one zone publishes it")


@pytest.mark.parametrize("turned", [False, True])
def test_a_host_that_publishes_nothing_hides_no_difference_of_another(
    make_run: Callable[..., Run], turned: bool
) -> None:
    other = {**SAME, "fingerprint": {"torch": "2.14.0"}}
    silent = {"model": SAME["model"]}
    run = surveyed(make_run(), *((silent, other) if turned else (other, silent)))
    with pytest.raises(NotStarted, match=r"fingerprint\.torch: 2\.15\.0 and 2\.14\.0"):
        environment(run)
    assert [(d.key, d.changes_outputs) for d in run.findings.identity] == [("fingerprint.torch", "yes")]


PASSIVE = b"""\
upstream recognition {
    server 10.0.1.1:8000;
    server 10.0.2.1:8000 backup;
}
server {
    proxy_read_timeout 2s;
    location / { proxy_pass http://recognition; }
}
"""


@pytest.mark.parametrize("kind", ["nginx", "nginx-passive"])
def test_a_gateway_that_waits_as_long_as_its_clients_is_refused_where_it_fails_over_by_itself(
    kind: str, make_run: Callable[..., Run], estate: Inventory, inventory_file: Path
) -> None:
    inventory_file.write_text(inventory_file.read_text().replace("gateway:\n", f"gateway:\n  kind: {kind}\n"))
    run = make_run(inventory=inventories.load(inventory_file))
    run.fleet = Fleet(run.inventory, {})
    run.gateway = ScriptedGateway(estate, PASSIVE)
    assert run.playbook.traffic.timeout_seconds == 2
    if kind == "nginx":
        steady_state._check_patience(run)
        return
    with pytest.raises(GatewayError, match="line 7: proxy_read_timeout is 2s, and clients wait 2 s"):
        steady_state._check_patience(run)
    run.gateway = ScriptedGateway(estate, PASSIVE.replace(b"2s", b"1s"))
    steady_state._check_patience(run)


@pytest.mark.parametrize(("hosts", "said"), [(1, []), (2, ["that each gateway host is switched: gateway answer at"])])
def test_of_several_gateway_hosts_each_is_proven_or_it_is_said(
    hosts: int, said: list[str], make_run: Callable[..., Run], estate: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    (host,) = estate.gateway.hosts
    pair = (host, host.model_copy(update={"name": "other"}))
    gateway = estate.gateway.model_copy(update={"hosts": pair[:hosts]})
    run = make_run(inventory=estate.model_copy(update={"gateway": gateway}))
    run.fleet = Fleet(run.inventory, {})
    run.gateway = ScriptedGateway(
        estate, PASSIVE.replace(b"    server 10.0.2.1:8000 backup", b"    # server 10.0.2.1:8000")
    )
    monkeypatch.setattr(run.gateway, "check_path", lambda zone: ("gateway",) if zone == "zone-a" else ())
    monkeypatch.setattr(steady_state, "serving_zone", lambda _: ("zone-a", None))
    steady_state._gateway(run)
    assert [one[: len(said[0])] for one in run.findings.not_proven] == said
