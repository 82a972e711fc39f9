"""The patrol over looks that are given to it: what it says, keeps and serves."""

from __future__ import annotations

import threading
import time
import urllib.request
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import DataError

from drillctl.errors import HistoryError, UsageError
from drillctl.guard.lease import Holding
from drillctl.history.store import History
from drillctl.patrol.baseline import Baseline
from drillctl.patrol.late_history import LateHistory
from drillctl.patrol.metrics import MetricsServer, PatrolMetrics, parse_address
from drillctl.patrol.patrol import Patrol
from drillctl.survey import Health

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from drillctl.history.sample import Sample
    from drillctl.inventory import Inventory
    from drillctl.patrol.event import Event
    from drillctl.patrol.look import Look


class Looks:
    """Gives one look after the other, 30 s apart; the last one stays."""

    def __init__(self, looks: Sequence[Look], seconds: float = 0.0) -> None:
        self.connections = SimpleNamespace(reconnects=0)
        self.times: list[float] = []
        self._looks = list(looks)
        self._seconds = seconds
        self._at = looks[0].at

    def look(self) -> Look:
        self.times.append(time.monotonic())
        time.sleep(self._seconds)
        look = self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]
        self._at += timedelta(seconds=30)
        return replace(look, at=self._at)


@pytest.fixture
def patrol_of(estate: Inventory) -> Callable[..., tuple[Patrol, list[Event]]]:
    def make(looks: Sequence[Look], *, seconds: float = 0.0, **more: object) -> tuple[Patrol, list[Event]]:
        said: list[Event] = []
        about = {"every": 30.0, "say": said.append, **more}
        return Patrol(inventory=estate, sampler=Looks(looks, seconds), **about), said  # type: ignore[arg-type]

    return make


def down(spoil: Callable[..., Look]) -> Look:
    return spoil("a-1", health=Health(), problem="no answer")


def in_drill(look: Look, run: str = "r-1") -> Look:
    holding = Holding("gateway", state="held", epoch=4, run=run, owner="ops@here")
    return replace(look, gateways=(replace(look.gateways[0], holding=holding),))


def words(said: list[Event]) -> list[str]:
    return [event.word for event in said]


def test_nothing_is_said_while_nothing_changes(
    patrol_of: Callable[..., tuple[Patrol, list[Event]]], well: Look
) -> None:
    patrol, said = patrol_of([well])
    for _ in range(5):
        patrol.once()
    assert said == []


def test_an_outage_and_its_end_are_said_once_each(
    patrol_of: Callable[..., tuple[Patrol, list[Event]]], well: Look, spoil: Callable[..., Look]
) -> None:
    patrol, said = patrol_of([well, *[down(spoil)] * 4, *[well] * 3])
    for _ in range(8):
        patrol.once()
    assert words(said) == ["suspect", "ALARM", "recovered"]
    assert said[1].line() == "2026-11-25T12:01:30Z ALARM     a-1: its server does not answer"
    assert said[2].text == "no longer: a-1: its server does not answer (after 150 s)"


def test_what_a_drill_breaks_is_noted_and_what_it_does_not_break_is_an_alarm(
    patrol_of: Callable[..., tuple[Patrol, list[Event]]], well: Look, spoil: Callable[..., Look]
) -> None:
    drilled = in_drill(down(spoil))
    spoiled = in_drill(spoil("b-1", fingerprint="0" * 64))
    patrol, said = patrol_of([well, drilled, drilled, drilled, spoiled, spoiled, well])
    for _ in range(7):
        patrol.once()
    assert words(said) == ["drill", "suspect", "ALARM", "drill"]
    assert said[2].kind == "fingerprint"
    assert said[0].text == "r-1 is going on, by ops@here: what it breaks is no alarm"
    assert said[3].text == "r-1 has given its lease back"


def test_a_model_that_a_drill_spoils_on_disk_is_an_alarm_only_if_it_stays_so(
    patrol_of: Callable[..., tuple[Patrol, list[Event]]], well: Look, spoil: Callable[..., Look]
) -> None:
    spoiled = spoil("a-1", sha256_disk="0" * 64)
    patrol, said = patrol_of([well, *[in_drill(spoiled)] * 3, spoiled, spoiled, well, well])
    for _ in range(4):
        patrol.once()
    assert words(said) == ["drill"]
    for _ in range(4):
        patrol.once()
    assert words(said) == ["drill", "drill", "suspect", "ALARM", "recovered"]
    assert said[3].kind == "model-disk"


def test_an_alarm_from_before_a_drill_stays_one(
    patrol_of: Callable[..., tuple[Patrol, list[Event]]], spoil: Callable[..., Look]
) -> None:
    patrol, said = patrol_of([down(spoil), down(spoil), in_drill(down(spoil))])
    for _ in range(6):
        patrol.once()
    assert words(said) == ["suspect", "ALARM", "drill"]
    assert len(patrol.alarms) == 1


class Full:
    """A history that cannot be written until told otherwise."""

    def __init__(self) -> None:
        self.well = False
        self.samples: list[Sample] = []

    def add_samples(self, samples: Sequence[Sample]) -> None:
        if not self.well:
            raise HistoryError("the history /var/h.db cannot be used: the disk is full")
        self.samples += samples


def test_a_history_that_fails_is_said_once_and_gets_everything_later(
    patrol_of: Callable[..., tuple[Patrol, list[Event]]], well: Look
) -> None:
    store = Full()
    patrol, said = patrol_of([well], store=store)
    for _ in range(3):
        patrol.once()
    assert words(said) == ["note"]
    assert "the disk is full" in said[0].text
    store.well = True
    patrol.once()
    assert said[-1].text == "the history can be used again"
    assert len(store.samples) == 4 * 3, "four looks at three hosts"
    assert len({sample.at for sample in store.samples}) == 4


class Picky(Full):
    """A history that refuses what it cannot store, by Python or by the database; it knows each by its problem."""

    def __init__(self) -> None:
        super().__init__()
        self.well = True

    def add_samples(self, samples: Sequence[Sample]) -> None:
        problems = {sample.problem for sample in samples}
        if "lone surrogate" in problems:
            "\ud800".encode()
        if "nul" in problems:
            raise HistoryError("the history on db-1 cannot be used: it refuses it") from DataError("", {}, ValueError())
        super().add_samples(samples)


@pytest.mark.parametrize("problem", ["lone surrogate", "nul"])
def test_a_sample_that_the_history_refuses_for_what_it_says_is_dropped_alone_and_said_once(
    patrol_of: Callable[..., tuple[Patrol, list[Event]]], well: Look, spoil: Callable[..., Look], problem: str
) -> None:
    store = Picky()
    patrol, said = patrol_of([spoil("a-1", problem=problem), spoil("a-1", problem=problem), well], store=store)
    for _ in range(3):
        patrol.once()
    assert [sample.host for sample in store.samples] == [*["b-1", "gateway"] * 2, "a-1", "b-1", "gateway"]
    assert words(said) == ["note", "note"]
    assert said[0].text.startswith("a-1: what was seen of it is not stored: ")
    assert said[1].text == "a-1: what is seen of it is stored again"


def test_a_history_that_cannot_be_opened_at_first_gets_everything_later_and_tells_what_changed(
    patrol_of: Callable[..., tuple[Patrol, list[Event]]], well: Look, spoil: Callable[..., Look], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/history.db"
    with History.open(url) as before:
        before.add_samples(well.samples("shop"))
    up = False

    def opening() -> History:
        if not up:
            raise HistoryError("the history on db-1 cannot be used: connection refused")
        return History.open(url)

    store = LateHistory(opening)
    patrol, said = patrol_of([spoil("a-1", fingerprint="0" * 64)], store=store, hold=1)
    store.opened = lambda history: patrol.baseline.recall(Baseline.of(history.last_samples("shop").values(), None))
    for _ in range(3):
        patrol.once()
    assert words(said) == ["note"]
    up = True
    patrol.once()
    patrol.once()
    store.close()
    assert words(said) == ["note", "note", "ALARM"]
    assert said[2].kind == "fingerprint"
    with History.open(url) as after:
        assert len(list(after.each_sample("shop"))) == 6 * 3, "one look of old, and five"


def test_looks_are_aligned_and_slow_ones_cost_others_but_never_come_in_a_bunch(
    patrol_of: Callable[..., tuple[Patrol, list[Event]]], well: Look
) -> None:
    patrol, said = patrol_of([well], seconds=0.3, every=0.2)
    stop = threading.Event()
    thread = threading.Thread(target=patrol.run, args=(stop,))
    thread.start()
    time.sleep(1.5)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    times = patrol.sampler.times  # type: ignore[attr-defined]
    assert all(second - first >= 0.3 for first, second in pairwise(times[1:]))
    assert patrol.missed >= 2
    assert words(said)[0] == "started"
    assert any("look was skipped" in event.text for event in said)


def test_accepting_is_said_and_ends_the_alarm(
    patrol_of: Callable[..., tuple[Patrol, list[Event]]], well: Look, spoil: Callable[..., Look]
) -> None:
    changed = spoil("gateway", config_sha256="0" * 64)
    patrol, said = patrol_of([well, changed], hold=1)
    patrol.once()
    patrol.once()
    patrol.accept()
    patrol.once()
    assert words(said) == ["ALARM", "note", "recovered"]


# ---- metrics


def test_prometheus_gets_what_the_last_look_found(
    patrol_of: Callable[..., tuple[Patrol, list[Event]]], well: Look, spoil: Callable[..., Look]
) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    patrol, _ = patrol_of([well, down(spoil)], hold=1)
    collector = PatrolMetrics(patrol)
    patrol.observe = collector.observe
    server = MetricsServer("127.0.0.1:0", collector)
    try:

        def scrape() -> dict[tuple[str, tuple[str, ...]], float]:
            text = urllib.request.urlopen(f"http://{server.address}/metrics", timeout=5).read().decode()
            samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
            return {
                (s.name, tuple(v for k, v in sorted(s.labels.items()) if k != "inventory")): s.value for s in samples
            }

        assert ("drillctl_host_up", ("a-1", "primary", "zone-a")) not in scrape(), (
            "nothing is known before the first look"
        )
        patrol.once()
        found = scrape()
        assert found["drillctl_watch_looks_total", ()] == 1
        assert found["drillctl_server_ready", ("a-1", "primary", "zone-a")] == 1
        assert found["drillctl_model_matches", ("b-1", "standby", "disk", "zone-b")] == 1
        assert found["drillctl_zone_serving", ("zone-a",)] == 1
        patrol.once()
        found = scrape()
        assert found["drillctl_server_ready", ("a-1", "primary", "zone-a")] == 0
        assert found["drillctl_alarm", ("health", "a-1")] == 1
        with pytest.raises(UsageError, match="cannot be had"):
            MetricsServer(server.address, collector)
    finally:
        server.close()


@pytest.mark.parametrize("text", ["9786", "host:", ":9786", "127.0.0.1:99999", "127.0.0.1:http"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no ADDRESS:PORT"):
        parse_address(text)


def test_an_address_of_ipv6_is_read() -> None:
    assert parse_address("[::1]:9786") == ("::1", 9786)
