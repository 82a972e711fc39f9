"""Report and objectives of runs made by hand: each way a drill can end has its verdict and its figures."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pytest
from told import BEGAN

from drillctl.compare.equality import Exact, compare, digest
from drillctl.drill import Ending
from drillctl.errors import Aborted, ConnectionLost, GatewayError, HostError, Inconclusive, NotStarted
from drillctl.history.record import record_of
from drillctl.playbook import Tolerance
from drillctl.report import junit, markdown
from drillctl.report.model import Report
from drillctl.steps import golden
from drillctl.traffic.detection import Detection

if TYPE_CHECKING:
    from collections.abc import Callable

    from told import Told

P, S = "P" * 30, "S" * 33
BACK = "/" + "S" * 10 + "P" * 20


def met(report: Report) -> dict[str, bool | None]:
    return {objective.name: objective.met for objective in report.objectives}


def test_a_drill_that_met_everything(tell: Callable[..., Told]) -> None:
    report = tell().report()
    assert (report.verdict, report.exit_code) == ("passed", 0)
    assert met(report) == {
        "recovery time": True,
        "lost requests": True,
        "outputs": True,
        "outputs under load": True,
        "failed during restore": True,
        "gateway config": True,
    }
    assert report.recovery.outage_seconds == pytest.approx(0.7)
    assert report.recovery.uncertainty_seconds is not None
    assert 0.1 <= report.recovery.uncertainty_seconds < 0.2
    assert (report.traffic.sent, report.traffic.ok, report.traffic.failed) == (100, 93, 7)
    assert report.traffic.by_zone == {"zone-a": 50, "zone-b": 43}
    assert report.traffic.kinds == {"status 502": 7}
    assert (report.equality.compared, report.equality.identical, report.equality.different) == (2, 2, [])
    assert (report.restore.verdict, report.restore.failed_requests, report.restore.config_identical) == (
        "complete",
        0,
        True,
    )
    assert report.reason is None


def test_the_parts_of_the_outage_add_up_to_it(tell: Callable[..., Told]) -> None:
    recovery = tell().report().recovery
    parts = (recovery.detection_seconds, recovery.switch_seconds, recovery.answer_seconds)
    assert None not in parts
    assert sum(part or 0 for part in parts) == pytest.approx(recovery.outage_seconds, abs=1e-3)


CASES = [
    ("too slow", P + "|" + "x" * 52 + S + BACK, {"recovery time": False, "lost requests": False}, "failed"),
    ("too many lost", P + "|" + "x" * 25 + S + BACK, {"lost requests": False}, "failed"),
    ("never recovered", P + "|" + "x" * 30 + BACK, {"recovery time": False, "lost requests": False}, "failed"),
    ("flapping to the end", P + "|" + "xxSS" * 8 + BACK, {"recovery time": False}, "failed"),
    (
        "recovered and relapsed",
        P + "|xxx" + "S" * 12 + "x" * 60 + S + BACK,
        {"recovery time": False, "lost requests": False},
        "failed",
    ),
    ("a stray failure of a busy standby", P + "|xxx" + S + "x" + S + BACK, {}, "passed"),
    ("other answers under load", P + "|xxx" + "W" + S + BACK, {"outputs under load": False}, "failed"),
    ("lost on the way back", P + "|xxx" + S + "/SSSxPPPPPPP", {"failed during restore": False}, "failed"),
    ("nobody noticed", P + "|" + S + BACK, {}, "passed"),
    ("nobody noticed, and the standby never served", P + "|" + P + "/PPP", {"recovery time": None}, "inconclusive"),
]


@pytest.mark.parametrize(
    ("letters", "missed", "verdict"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_what_was_missed_decides(
    tell: Callable[..., Told], letters: str, missed: dict[str, bool | None], verdict: str
) -> None:
    report = tell(letters).report()
    assert {name: value for name, value in met(report).items() if value is not True} == missed
    assert report.verdict == verdict


def test_it_is_said_in_which_steps_of_the_restore_requests_failed(tell: Callable[..., Told]) -> None:
    told = tell(P + "|xxx" + S + "/SxxSxPPPPP")
    began = told.run.moments.restore_began
    assert began is not None
    # The first step is noted a moment after the restore began: what was due in between is its own, too.
    for name, after in (("heal", 0.15), ("failback", 0.35), ("verify", 0.55)):
        told.step(name, "", "restore", began - told.run.began + after, "")
    (one,) = (one for one in told.report().objectives if one.name == "failed during restore")
    assert (one.measured, one.met) == ("3: 2 in heal (status 502), 1 in failback (status 502)", False)


def test_what_failed_after_the_recovery_is_said(tell: Callable[..., Told]) -> None:
    stray = tell(P + "|xxx" + S + "x" + S + BACK).report()
    assert stray.recovery.said.endswith(" s, 3 requests lost; 1 failed after the recovery")
    relapsed = tell(P + "|xxx" + "S" * 12 + "x" * 60 + S + BACK).report()
    (one,) = (one for one in relapsed.objectives if one.name == "recovery time")
    assert one.measured == "7.50 s ± 0.10 s, recovered after 0.30 s and relapsed"


def test_no_outage_is_said_as_such_and_has_an_error_bar(tell: Callable[..., Told]) -> None:
    recovery = tell(P + "|" + S + BACK).report().recovery
    assert (recovery.outage_seconds, recovery.said) == (0.0, "no request was lost")
    assert recovery.uncertainty_seconds == pytest.approx(0.1)
    assert recovery.detection_seconds is None


def test_no_outage_within_an_error_bar_beyond_the_objective_is_not_measured(tell: Callable[..., Told]) -> None:
    told = tell(P + "|" + S + BACK)
    told.run.findings.probes = [p for p in told.run.findings.probes if not 32 <= p.seq < 62]
    objectives = told.run.playbook.objectives.model_copy(update={"rto_seconds": 2.0})
    told.run.playbook = told.run.playbook.model_copy(update={"objectives": objectives})
    report = told.report()
    assert report.recovery.said == "no request was lost"
    (one,) = (one for one in report.objectives if one.name == "recovery time")
    assert one.met is None
    assert "up to 3.10 s may have passed unseen" in one.measured


@pytest.mark.parametrize("letters", [P + "|" + "xPPP" * 5 + "xxx" + S + BACK, P + "|" + "xPPP" * 5 + "xxx" + BACK])
def test_detection_counts_from_the_first_failed_request_of_the_outage(tell: Callable[..., Told], letters: str) -> None:
    """Failures between good answers make no row, and are part of the outage all the same."""
    told = tell(letters)
    at = BEGAN + 5.3
    told.run.findings.detection = Detection(at, 3, {"status 502": 3}, first_failed=BEGAN + 5.0)
    objectives = told.run.playbook.objectives.model_copy(update={"detection_seconds": 1.0})
    told.run.playbook = told.run.playbook.model_copy(update={"objectives": objectives})
    (one,) = (one for one in told.report().objectives if one.name == "detection")
    assert (one.measured, one.met) == ("2.30 s", False)


def test_the_recovery_time_is_judged_by_its_worst_case(tell: Callable[..., Told]) -> None:
    """An outage of 4.9 s with an error bar that reaches beyond 5 s has not been shown to be within 5 s."""
    report = tell(P + "|" + "x" * 49 + S + BACK).report()
    assert report.recovery.outage_seconds == pytest.approx(4.9)
    assert (
        report.recovery.outage_seconds < 5 < report.recovery.outage_seconds + (report.recovery.uncertainty_seconds or 0)
    )
    assert met(report)["recovery time"] is False


def test_not_recovered_has_no_figure(tell: Callable[..., Told]) -> None:
    recovery = tell(P + "|" + "x" * 30 + BACK).report().recovery
    assert recovery.outage_seconds is None
    assert recovery.said.startswith("not recovered: no good answer from zone-b")


def test_a_standby_that_answers_differently_fails(tell: Callable[..., Told]) -> None:
    told = tell()
    other = {"blue.png": b'{"label": "blue"}', "red.jpg": b'{"label": "rose"}'}
    told.run.findings.standby_serving = compare(told.run.findings.baseline, other, Exact())
    report = told.report()
    assert report.verdict == "failed"
    assert met(report)["outputs"] is False
    assert (report.equality.identical, [d["image"] for d in report.equality.different]) == (1, ["red.jpg"])


def scores(last: str) -> dict[str, bytes]:
    """Return answers to the images of a told run, whose scores are the same but for the last digits."""
    return {
        image: b'{"predictions": [{"label": "%s", "score": 0.25%s}]}' % (label.encode(), last.encode())
        for image, label in (("blue.png", "blue"), ("red.jpg", "red"))
    }


@pytest.mark.parametrize(
    ("outputs", "last", "wrong"),
    [(Tolerance(score_abs=1e-6), "0000001", 0), (Tolerance(score_abs=1e-6), "1", 43), ("exact", "0000001", 43)],
    ids=["accepted within the tolerance", "beyond the tolerance", "no tolerance"],
)
def test_an_answer_under_load_may_be_one_that_was_accepted_of_the_standby(
    tell: Callable[..., Told], outputs: Tolerance | Literal["exact"], last: str, wrong: int
) -> None:
    told = tell()
    run = told.run
    objectives = run.playbook.objectives.model_copy(update={"outputs": outputs})
    run.playbook = run.playbook.model_copy(update={"objectives": objectives})
    run.findings.baseline, standby = scores(""), scores(last)
    golden.equality(run, standby)
    run.findings.probes = [
        replace(p, digest=digest((standby if p.zone == "zone-b" else run.findings.baseline)[p.image])) if p.ok else p
        for p in run.findings.probes
    ]
    report = told.report()
    assert report.traffic.wrong == wrong
    assert met(report)["outputs under load"] is (wrong == 0)


def test_wrong_answers_are_not_counted_without_a_baseline(tell: Callable[..., Told]) -> None:
    told = tell()
    told.run.findings.baseline = {}
    report = told.report()
    assert report.traffic.wrong is None
    assert record_of(report.model_dump(mode="json"), controller="desk").wrong_answers is None


def test_a_config_that_is_not_as_before_fails_and_is_left(tell: Callable[..., Told]) -> None:
    told = tell()
    told.run.findings.config_identical = False
    assert met(told.report())["gateway config"] is False
    assert told.report().verdict == "failed"
    told.run.findings.left.append("the gateway's config is not the one from before the drill")
    report = told.report()
    assert (report.verdict, report.exit_code) == ("restore-incomplete", 6)
    assert report.restore.verdict == "incomplete"
    assert report.restore.left == ["the gateway's config is not the one from before the drill"]


@pytest.mark.parametrize(
    "ending",
    [
        Ending(),
        Ending(aborted=True, error=Aborted("stopped by SIGINT")),
        Ending(error=GatewayError("nobody answers")),
        Ending(error=Inconclusive("the fault is not proven")),
        Ending(refused=True, error=NotStarted("the zones are not isolated")),
    ],
)
def test_what_was_left_outranks_every_ending(tell: Callable[..., Told], ending: Ending) -> None:
    told = tell()
    told.run.findings.left.append("heal: a-1: not ready after 120 s")
    assert told.report(ending).exit_code == 6


def test_a_refused_drill_has_no_objectives_and_says_why(tell: Callable[..., Told]) -> None:
    told = tell(P)
    told.run.changed = False
    told.run.findings.config_identical = None
    error = NotStarted("the zones are not isolated", hint="place them apart")
    report = told.report(Ending(refused=True, error=error))
    assert (report.verdict, report.exit_code) == ("not-started", 4)
    assert (report.reason, report.hint) == ("the zones are not isolated", "place them apart")
    assert report.objectives == []
    assert report.restore.verdict == "nothing to restore"
    assert report.recovery.outage_seconds is None


def test_an_aborted_drill_is_not_judged(tell: Callable[..., Told]) -> None:
    report = tell(P + "|xxxx/PPP").report(Ending(aborted=True, error=Aborted("stopped by SIGINT")))
    assert (report.verdict, report.exit_code) == ("aborted", 5)
    assert report.objectives == []
    assert report.restore.verdict == "complete"


def test_a_fault_that_was_not_proven_is_inconclusive_whatever_the_figures_say(tell: Callable[..., Told]) -> None:
    told = tell(P + "|" + "P" * 10 + "/PPP")
    told.run.moments.fault_proven = None
    report = told.report(Ending(error=Inconclusive("the kill hit nothing", host="a-1")))
    assert (report.verdict, report.exit_code) == ("inconclusive", 3)
    assert report.reason == "a-1: the kill hit nothing"
    assert met(report)["recovery time"] is None
    assert met(report)["lost requests"] is None


def test_a_step_that_failed_is_a_missed_objective(tell: Callable[..., Told]) -> None:
    report = tell(P + "|xxxx/PPP").report(Ending(error=GatewayError("zone-b answered no request", host="gateway")))
    assert report.verdict == "failed"
    assert met(report)["steps"] is False
    assert report.objectives[0].measured == "gateway: zone-b answered no request"


def test_a_connection_that_was_lost_says_nothing_of_the_service(tell: Callable[..., Told]) -> None:
    report = tell().report(Ending(error=ConnectionLost("the connection is closed", host="a-1")))
    assert (report.verdict, report.exit_code, report.reason) == ("inconclusive", 3, "a-1: the connection is closed")
    assert "steps" not in met(report)
    # What clients saw does.
    lost = tell(P + "|" + "x" * 60).report(Ending(error=ConnectionLost("the connection is closed", host="a-1")))
    assert lost.verdict == "failed"
    assert met(lost)["recovery time"] is False


@pytest.mark.parametrize(
    "letters", [P + "|xxx/xxxx" + "P" * 9, P + "|/xxxx" + "P" * 9], ids=["clients were out", "they had not noticed yet"]
)
def test_a_connection_that_is_lost_between_fault_and_switch_leaves_the_outage_to_the_restore(
    tell: Callable[..., Told], letters: str
) -> None:
    for broke in (ConnectionLost("the connection is closed"), Inconclusive("the prober died")):
        report = tell(letters).report(Ending(error=broke))
        assert (report.verdict, met(report)["failed during restore"]) == ("inconclusive", None)
        assert report.restore.failed_requests == 4
        (one,) = (one for one in report.objectives if one.name == "failed during restore")
        assert one.measured == "4, but clients were still out when it began"
    # A step that failed is a matter of the service, and so is a restore that loses requests after a recovery.
    assert tell(letters).report(Ending(error=GatewayError("no reload"))).verdict == "failed"
    switched = tell(P + "|xxx" + S + "/SSxSPPPP").report(Ending(error=ConnectionLost("the connection is closed")))
    assert (switched.verdict, met(switched)["failed during restore"]) == ("failed", False)


@pytest.mark.parametrize("letters", [P + "|xxx" + "SS", P + "|" + "x" * 5], ids=["it had just begun to", "not yet"])
def test_a_drill_that_broke_off_before_the_time_was_over_has_not_seen_that_it_does_not_recover(
    tell: Callable[..., Told], letters: str
) -> None:
    """The connection goes as soon as the gateway was switched: nobody waited for a sustained recovery."""
    for broke in (ConnectionLost("the connection is closed"), Inconclusive("the prober died")):
        report = tell(letters).report(Ending(error=broke))
        assert (report.verdict, met(report)["recovery time"], report.recovery.said) == (
            "inconclusive",
            None,
            "not measured",
        )
    slow = tell(letters).report(Ending(error=GatewayError("zone-b did not serve")))
    assert (slow.verdict, met(slow)["recovery time"]) == ("failed", False)


def test_what_a_record_that_was_cut_short_does_not_show_is_not_measured(tell: Callable[..., Told]) -> None:
    """The prober dies while things are put back, or just before: nobody knows what clients saw from then on."""
    told = tell()
    told.run.findings.cut_short_at = told.run.findings.probes[-1].done + 60
    report = told.report()
    assert report.verdict == "inconclusive"
    assert (report.restore.failed_requests, met(report)["failed during restore"]) == (None, None)
    assert (met(report)["recovery time"], met(report)["lost requests"]) == (True, True)
    told = tell(P + "|xxx" + "S" * 20 + "/")
    told.run.findings.cut_short_at = told.run.findings.probes[-1].done
    assert met(told.report())["lost requests"] is None
    early = tell(P + "|xxx/")
    early.run.findings.cut_short_at = early.run.findings.probes[-1].done
    assert (early.report().verdict, met(early.report())["recovery time"]) == ("inconclusive", None)
    slow = tell(P + "|" + "x" * 60 + "/")
    slow.run.findings.cut_short_at = slow.run.findings.probes[-1].done
    assert (slow.report().verdict, met(slow.report())["recovery time"]) == ("failed", False)


def test_a_drill_that_broke_never_passes_however_good_its_figures_are(tell: Callable[..., Told]) -> None:
    for error in (HostError("lost"), Inconclusive("the prober died"), GatewayError("no log")):
        assert tell().report(Ending(error=error)).exit_code != 0


def test_nothing_measured_is_never_a_pass(tell: Callable[..., Told]) -> None:
    told = tell("")
    told.run.findings.baseline = {}
    told.run.findings.standby_serving = None
    told.run.findings.standby_before = None
    told.run.findings.config_identical = None
    report = told.report()
    assert report.verdict == "inconclusive"
    assert set(met(report).values()) == {None}


REQUIRED = {
    "": "schema_version run_id playbook inventory verdict exit_code started_at finished_at recovery traffic equality "
    "model restore objectives steps",
    "recovery": "rto_seconds outage_seconds uncertainty_seconds detection_seconds switch_seconds",
    "traffic": "rate sent ok failed slow missed by_zone",
    "equality": "compared identical different",
    "model": "expected_sha256 zones",
    "restore": "verdict failed_requests config_identical",
    "objectives": "name rule measured met",
    "steps": "name host status seconds detail",
}


@pytest.mark.parametrize(
    ("letters", "ending"),
    [(None, Ending()), ("", Ending(refused=True, error=NotStarted("no")))],
    ids=["passed", "refused"],
)
def test_the_document_has_every_key_that_is_promised(
    tell: Callable[..., Told], letters: str | None, ending: Ending
) -> None:
    told = tell() if letters is None else tell(letters)
    told.step("connect", "", "before", 0.0, "3 hosts")
    document = json.loads(told.report(ending).model_dump_json())
    assert document["schema_version"] == 1
    for part, keys in REQUIRED.items():
        found = document[part] if part else document
        for entry in found if isinstance(found, list) else [found]:
            assert set(keys.split()) <= set(entry), part
    assert document["steps"]
    assert bool(document["objectives"]) is (letters is None)


def test_the_document_comes_back_as_it_was(tell: Callable[..., Told]) -> None:
    report = tell().report()
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_steps_are_told_in_the_order_in_which_they_began(tell: Callable[..., Told]) -> None:
    told = tell()
    told.step("fault", "a-2", "steps", 3.2, "")
    told.step("connect", "", "before", 0.1, "")
    told.step("fault", "a-1", "steps", 3.1, "")
    assert [(step.name, step.host) for step in told.report().steps] == [
        ("connect", ""), ("fault", "a-1"), ("fault", "a-2"),
    ]  # fmt: skip


def test_servers_that_the_drill_started_are_a_deviation(tell: Callable[..., Told]) -> None:
    told = tell()
    told.run.findings.started.append("b-1")
    assert told.report().deviations == ["b-1: the server was not running; the drill started it"]


@pytest.mark.parametrize(
    ("letters", "verdict", "meaning"),
    [
        (P + "|" + S + "/", "passed", "every objective was met; the gateway stays on zone-b"),
        (P + "|" + "x" * 25 + S + "/", "failed", "an objective was missed; the gateway stays on zone-b"),
    ],
)
def test_a_switch_that_stays_is_not_said_to_be_put_back(
    tell: Callable[..., Told], letters: str, verdict: str, meaning: str
) -> None:
    told = tell(letters)
    told.run.keep = told.run.findings.kept = True
    report = told.report()
    assert (report.verdict, report.meaning) == (verdict, meaning)
    assert report.restore.verdict == "kept"
    assert all("everything was put back" not in render(report) for render in (markdown.render, junit.render))


def test_a_switch_that_was_put_back_after_all_is_said_to_be(tell: Callable[..., Told]) -> None:
    told = tell()
    told.run.keep = True
    assert told.report().meaning == "an objective was missed; everything was put back"
