"""The contract of the history, the same for SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from drillctl.history import store
from drillctl.history.record import UNFINISHED, RunRecord
from drillctl.history.store import History
from drillctl.last_drill import LastDrill

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.history.sample import Sample

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def ids(runs: list[RunRecord]) -> list[str]:
    return [run.run_id[-4:] for run in runs]


def unfinished(run_id: str, *, changed: bool = True) -> RunRecord:
    return RunRecord(
        run_id=run_id,
        inventory="shop",
        playbook="zone-failover",
        environment="staging",
        verdict=UNFINISHED,
        exit_code=None,
        started_at=NOON,
        finished_at=None,
        changed=changed,
        comparable=False,
        reason="killed",
        drillctl_version=None,
        controller=None,
    )


# ---- runs


def test_a_run_comes_back_as_it_was_stored(history: History, make_report: Callable[..., dict[str, Any]]) -> None:
    report = make_report(reason="zürich \N{SNOWMAN} 图像 'quoted' \\ \ud800 \0", verdict="failed")
    assert history.add_run(report, controller="desk")
    run = history.run(report["run_id"])
    assert run is not None
    assert run == history.runs()[0]
    assert (run.verdict, run.exit_code, run.changed, run.comparable) == ("failed", 1, True, False)
    assert run.started_at == NOON
    assert run.finished_at == NOON + timedelta(seconds=22.5)
    assert (run.recovery_time, run.lost_requests, run.detection, run.duration) == (0.25, 11, 0.125, 22.5)
    assert (run.recovery_time_limit, run.lost_requests_limit, run.switch) == (0.5, 20, None)
    assert run.controller == "desk"
    stored = history.report(report["run_id"])
    assert stored is not None
    assert {**stored, "reason": None} == {**report, "reason": None}
    assert run.reason == "zürich \N{SNOWMAN} 图像 'quoted' \\ \\ud800 \\x00"
    assert stored["reason"].startswith("zürich \N{SNOWMAN} 图像 'quoted' \\ ")


def test_a_run_is_stored_once_and_never_changed(history: History, make_report: Callable[..., dict[str, Any]]) -> None:
    assert history.add_run(make_report())
    assert not history.add_run(make_report())
    assert not history.add_run(make_report(verdict="failed"))
    assert [run.verdict for run in history.runs()] == ["passed"]


def test_a_report_replaces_an_unfinished_run_and_not_the_other_way_round(
    history: History, make_report: Callable[..., dict[str, Any]]
) -> None:
    report = make_report()
    assert history.add_record(unfinished(report["run_id"]))
    assert history.run_ids() == {report["run_id"]: False}
    assert history.add_run(report)
    assert not history.add_record(unfinished(report["run_id"]))
    assert [run.verdict for run in history.runs()] == ["passed"]
    assert history.run_ids() == {report["run_id"]: True}


@pytest.mark.parametrize(
    "verdict", ["passed", "failed", "inconclusive", "not-started", "aborted", "restore-incomplete"]
)
def test_every_verdict_is_kept(history: History, make_report: Callable[..., dict[str, Any]], verdict: str) -> None:
    history.add_run(make_report(verdict=verdict, outage=None))
    assert [run.verdict for run in history.runs(verdict=verdict)] == [verdict]


def test_runs_are_filtered_and_the_newest_comes_first(
    history: History, make_report: Callable[..., dict[str, Any]]
) -> None:
    for number in range(4):
        history.add_run(make_report(number))
    history.add_run(make_report(4, inventory="mall", environment="lab"))
    history.add_run(make_report(5, playbook="switchover", verdict="failed"))
    assert ids(history.runs()) == ["0005", "0004", "0003", "0002", "0001", "0000"]
    assert ids(history.runs(limit=2)) == ["0005", "0004"]
    assert ids(history.runs("mall")) == ["0004"]
    assert ids(history.runs(environment="lab")) == ["0004"]
    assert ids(history.runs("shop", "zone-failover", 2)) == ["0003", "0002"]
    assert ids(history.runs(comparable=True, playbook="switchover")) == []
    hour = timedelta(hours=1)
    assert ids(history.runs(since=NOON + hour, until=NOON + 3 * hour)) == ["0002", "0001"]
    assert ids(history.runs(begins="20261101T14")) == ["0002"]
    assert history.runs(begins="2026%") == []
    assert history.series() == [("mall", "zone-failover"), ("shop", "switchover"), ("shop", "zone-failover")]


def test_the_last_drill_is_the_last_run_that_changed_something(
    history: History, make_report: Callable[..., dict[str, Any]]
) -> None:
    assert history.last_drill("shop") is None
    history.add_run(make_report(2, verdict="failed"))
    history.add_run(make_report(1))
    history.add_run(make_report(3, verdict="not-started"))
    # It had started a server before a gate refused, and stopped it again: no drill.
    history.add_run(make_report(5, verdict="not-started") | {"restore": {"verdict": "complete"}})
    history.add_run(make_report(4, inventory="mall"))
    last = history.last_drill("shop")
    assert last is not None
    assert last.run_id == make_report(2)["run_id"]
    assert (last.at, last.ended) == (NOON + timedelta(hours=2), NOON + timedelta(hours=2, seconds=22.5))


def test_a_killed_run_that_changed_something_is_a_last_drill_too(history: History) -> None:
    history.add_record(unfinished("one", changed=False))
    assert history.last_drill("shop") is None
    history.add_record(unfinished("two"))
    assert history.last_drill("shop") == LastDrill(NOON, "two")


def test_what_is_no_report_is_refused_and_nothing_is_stored(history: History) -> None:
    with pytest.raises(ValueError, match="not the report of a run"):
        history.add_run({"run_id": "x"})
    assert history.runs() == []


def test_threads_may_store_at_once(history: History, make_report: Callable[..., dict[str, Any]]) -> None:
    threads = [threading.Thread(target=history.add_run, args=(make_report(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(history.runs()) == 8


# ---- samples


def test_a_sample_comes_back_as_it_was_stored(history: History, make_sample: Callable[..., Sample]) -> None:
    zone = make_sample(model_sha256="ab" * 32, fingerprint="cd", problem="its health is 图")
    exact = make_sample(1, at=datetime(2026, 11, 1, 20, 0, 30, 123457, tzinfo=UTC), latency_seconds=None)
    gateway = make_sample(
        host="gw", role="gateway", zone=None, config_sha256="ef", configured_zone="zone-a", serving_zone="zone-b",
        ready=False, health="unreachable",
    )  # fmt: skip
    history.add_samples([zone, exact, gateway])
    day = timedelta(days=1)
    assert history.samples("shop", "a-1", NOON, NOON + day) == [zone, exact]
    assert history.samples("shop", "gw", NOON, NOON + day) == [gateway]
    assert history.samples("mall", "a-1", NOON, NOON + day) == []
    assert list(history.each_sample()) == [zone, exact, gateway]


def test_samples_are_bounded_by_time_the_end_exclusive(history: History, make_sample: Callable[..., Sample]) -> None:
    samples = [make_sample(number) for number in range(5)]
    history.add_samples(samples)
    assert history.samples("shop", "a-1", samples[1].at, samples[3].at) == samples[1:3]
    assert history.samples("shop", "a-1", samples[1].at, samples[4].at, limit=1) == samples[1:2]


def test_the_same_sample_is_stored_once(history: History, url: str, make_sample: Callable[..., Sample]) -> None:
    history.add_samples([make_sample(), make_sample(1)])
    with History.open(url) as other:
        other.add_samples([make_sample(health="another word"), make_sample(2)])
    assert [sample.health for sample in history.each_sample()] == ["healthy"] * 3


def test_the_last_sample_of_each_host(history: History, make_sample: Callable[..., Sample]) -> None:
    assert history.last_samples("shop") == {}
    history.add_samples([make_sample(number, host) for host in ("a-1", "b-1") for number in (2, 0, 1)])
    history.add_samples([make_sample(5, "a-1", inventory="mall")])
    assert history.last_samples("shop") == {
        ("shop", "a-1"): make_sample(2, "a-1"),
        ("shop", "b-1"): make_sample(2, "b-1"),
    }
    assert ("mall", "a-1") in history.last_samples()


def test_a_state_is_kept_once_however_many_samples_have_it(
    history: History, make_sample: Callable[..., Sample]
) -> None:
    history.add_samples([make_sample(number, health="sick" if number == 7 else "healthy") for number in range(20)])
    with history._database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM drillctl_state").scalar() == 2
    assert [s.health for s in history.each_sample()].index("sick") == 7


def test_a_time_without_timezone_is_refused_and_nothing_is_stored(
    history: History, make_sample: Callable[..., Sample]
) -> None:
    with pytest.raises(Exception, match="no timezone"):
        history.add_samples([make_sample(), make_sample(1, at=datetime(2026, 1, 1))])  # noqa: DTZ001
    assert list(history.each_sample()) == []
    # What was rolled back must not be remembered as stored.
    history.add_samples([make_sample()])
    assert list(history.each_sample()) == [make_sample()]


def test_no_samples_are_no_work(history: History) -> None:
    history.add_samples([])


def test_samples_are_read_page_by_page(
    history: History, make_sample: Callable[..., Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_PAGE", 3)
    samples = [make_sample(number, host) for host in ("a-1", "b-1") for number in range(7)]
    history.add_samples(samples)
    assert list(history.each_sample("shop")) == samples
    assert list(history.each_sample("shop", samples[2].at, samples[6].at)) == samples[2:6] + samples[9:13]


# ---- retention


def test_prune_deletes_what_is_older_and_nothing_else(
    history: History, make_report: Callable[..., dict[str, Any]], make_sample: Callable[..., Sample]
) -> None:
    history.add_samples([make_sample(number, host) for host in ("a-1", "b-1") for number in range(6)])
    for number in range(3):
        history.add_run(make_report(number))
    assert history.prune(samples_before=make_sample(2).at) == (0, 4)
    assert [sample.at for sample in history.each_sample()] == 2 * [make_sample(number).at for number in range(2, 6)]
    assert len(history.runs()) == 3, "runs are kept unless it is said"
    assert history.prune(runs_before=NOON + timedelta(hours=2)) == (2, 0)
    assert ids(history.runs()) == ["0002"]
    assert history.report(make_report(0)["run_id"]) is None
    assert history.report(make_report(2)["run_id"]) is not None


@pytest.mark.parametrize("bite", [1, 2, 3, 100])
def test_prune_goes_on_until_all_is_deleted(
    history: History, make_sample: Callable[..., Sample], monkeypatch: pytest.MonkeyPatch, bite: int
) -> None:
    monkeypatch.setattr(store, "_PRUNE_ROWS", bite)
    history.add_samples([make_sample(number) for number in range(8)])
    assert history.prune(samples_before=make_sample(6).at).samples == 6
    assert [sample.at for sample in history.each_sample()] == [make_sample(6).at, make_sample(7).at]


def test_old_samples_go_by_themselves_but_only_once_an_hour(url: str, make_sample: Callable[..., Sample]) -> None:
    now = datetime.now(UTC)
    old, kept = make_sample(at=now - timedelta(days=200)), make_sample(at=now - timedelta(days=170))
    with History.open(url) as history:
        history.add_samples([old, kept])
        assert list(history.each_sample()) == [kept]
        history.add_samples([old])
        assert list(history.each_sample()) == [old, kept]
    with History.open(url) as history:
        history.add_samples([kept])
        assert list(history.each_sample()) == [kept]
