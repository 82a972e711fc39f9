"""Asking the golden images of one host: what a full queue says is asked again, all else is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drillctl.errors import Inconclusive
from drillctl.hosts.scripted import Page
from drillctl.playbook import images
from drillctl.steps import golden

if TYPE_CHECKING:
    from conftest import Machine

    from drillctl.run import Run


@pytest.fixture
def asked(connected: Run, machines: dict[str, Machine], monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The server that is asked, without the pauses in between."""
    monkeypatch.setattr(connected.interrupt, "sleep", lambda _: None)
    return machines[connected.zone_hosts()[0].name]


@pytest.mark.parametrize("busy", [1, golden.ATTEMPTS - 1])
def test_an_image_that_is_answered_with_503_is_asked_again(connected: Run, asked: Machine, busy: int) -> None:
    asked.pages = [*[Page(b"busy", status=503)] * busy, Page(b"red")]
    found = golden.of_host(connected, connected.zone_hosts()[0])
    assert found == {path.name: b"red" for path in images(connected.playbook)}


@pytest.mark.parametrize(("status", "times"), [(503, golden.ATTEMPTS), (500, 1)])
def test_a_server_that_stays_busy_or_fails_is_given_up(connected: Run, asked: Machine, status: int, times: int) -> None:
    asked.pages = [*[Page(b"no", status=status)] * times, Page(b"red")]
    with pytest.raises(Inconclusive, match=f"with {status}"):
        golden.of_host(connected, connected.zone_hosts()[0])
    assert len(asked.pages) == 1
