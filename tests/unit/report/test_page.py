"""The HTML report as text: everything is on it, and whatever a host, a server or a person says is only ever text."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from drillctl.compare.equality import Exact, compare
from drillctl.drill import Ending
from drillctl.errors import Aborted, NotStarted
from drillctl.report.page import render
from drillctl.report.stored import GoldenAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from told import Told

    from drillctl.report.stored import StoredRun, Whose

EVIL = "<script>alert('x')</script><img src=http://evil.example/x onerror=alert(1)>\"'&{{7*7}}"


class Read(HTMLParser):
    """What a page consists of: tags, attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words = ""
        self._silent = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self._silent = tag if tag in {"style", "script"} else self._silent

    def handle_endtag(self, tag: str) -> None:
        self._silent = "" if tag == self._silent else self._silent

    def handle_data(self, data: str) -> None:
        self.words += "" if self._silent else data


def words(page: str) -> str:
    return re.sub(r"\s+", " ", Read(page).words)


def test_a_recorded_drill_has_every_section_in_order(recorded: StoredRun) -> None:
    text = words(render(recorded))
    titles = [
        recorded.report.verdict.upper(), "Recovery time", "Objective", "What clients saw", "Steps", "Same outputs",
        "Identity of the zones", "Gateway config", "Everything put back", "Deviations and follow-ups",
        "Machines, versions and clocks", "Scope and people",
    ]  # fmt: skip
    places = []
    at = 0
    for title in titles:
        at = text.index(title, at)
        places.append(at)
    assert places == sorted(places)


def test_a_recorded_drill_tells_what_was_measured(recorded: StoredRun) -> None:
    report = recorded.report
    text = words(render(recorded))
    for step in report.steps:
        assert step.detail in text
    for objective in report.objectives:
        assert f"{objective.name}{objective.rule}{objective.measured}" in text.replace("\n", "")
    for machine in report.context.machines:
        assert machine.machine_id
        assert machine.machine_id in text
        assert "from the controller's" in text
    assert "nginx/1" in text
    assert report.context.people.approver
    assert report.context.people.approver in text
    for line in report.config_diff.splitlines():
        assert re.sub(r"\s+", " ", line) in text
    assert "same bytes before and after" in text
    assert f"the primary serves again and answers {len(recorded.golden)} of {len(recorded.golden)} as before" in text


def test_golden_images_are_shown_with_both_answers(recorded: StoredRun) -> None:
    page = Read(render(recorded))
    pictures = [value for name, value in page.attributes if name == "src"]
    assert len(pictures) == len(recorded.golden) > 10
    assert all(value.startswith("data:image/webp;base64,") for value in pictures)
    for row in recorded.golden:
        assert row.image in page.words
    assert page.words.count("蓝色圆形") >= 2


def test_it_loads_nothing_and_runs_nothing(recorded: StoredRun) -> None:
    page = render(recorded)
    read = Read(page)
    assert not {"script", "iframe", "object", "embed", "form"} & set(read.tags)
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    for name, value in read.attributes:
        if name in {"src", "href", "xlink:href", "action", "data"}:
            assert value.startswith(("data:", "#")), value
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page


def spoiled(value: object) -> object:
    """Return a document in which every text is an attack, but for those that are one of a few words or a time."""
    if isinstance(value, dict):
        kept = {"verdict", "started_at", "finished_at", "status", "section", "role", "run_id", "changes_outputs"}
        return {
            (EVIL + key if "." in key or "-" in key else key): inner
            if key in kept and isinstance(inner, str)
            else spoiled(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [spoiled(inner) for inner in value]
    return EVIL + value if isinstance(value, str) else value


def test_whatever_hosts_say_is_shown_as_text(recorded: StoredRun, tell: Callable[..., Told]) -> None:
    """Every text of a real report, every answer, zone and image name is an attack; none becomes part of the page."""
    from dataclasses import replace

    from drillctl.report.model import Report
    from drillctl.report.stored import GoldenAnswer

    report = Report.model_validate(spoiled(recorded.report.model_dump(mode="json")))
    golden = [
        GoldenAnswer.model_validate(
            {**dict(spoiled(row.model_dump(exclude={"thumbnail"}))), "thumbnail": row.thumbnail}
        )  # type: ignore[call-overload]
        for row in recorded.golden
    ]
    probes = [replace(one, zone=one.zone and EVIL + one.zone, image=EVIL) for one in recorded.probes]
    clean, attacked = (
        Read(render(recorded)),
        Read(render(replace(recorded, report=report, golden=golden, probes=probes))),
    )
    assert set(attacked.tags) == set(clean.tags)
    assert attacked.tags.count("img") == clean.tags.count("img")
    assert {name for name, _ in attacked.attributes} == {name for name, _ in clean.attributes}
    assert attacked.words.count("<script>alert('x')</script>") > 100
    assert "{{7*7}}" in attacked.words


@pytest.mark.parametrize(
    ("ending", "letters", "said"),
    [
        (Ending(refused=True, error=NotStarted("not isolated", hint="place them apart")), "", "NOT-STARTED"),
        (Ending(aborted=True, error=Aborted("stopped by SIGINT")), "P" * 30 + "|xxx/PPP", "ABORTED"),
        (Ending(), "P" * 30 + "|" + "x" * 30 + "/" + "x" * 5 + "P" * 20, "FAILED"),
        (Ending(), "P" * 30 + "|" + "S" * 33 + "/SSPP", "PASSED"),
    ],
)
def test_every_way_a_drill_ends_can_be_shown(
    tell: Callable[..., Told], ending: Ending, letters: str, said: str
) -> None:
    told = tell(letters)
    if ending.refused:
        told.run.changed = False
        told.run.findings.config_identical = None
    text = words(render(told.stored(ending)))
    assert said in text
    if ending.error is not None:
        assert str(ending.error) in text


def test_a_missed_objective_is_said_beside_the_verdict(tell: Callable[..., Told]) -> None:
    text = words(render(tell("P" * 30 + "|" + "x" * 60 + "S" * 33 + "/SSPP").stored()))
    assert "Missed: recovery time, 6.00 s" in text
    assert text.index("Missed: recovery time") < text.index("Recovery time")


def test_different_answers_are_shown_side_by_side(tell: Callable[..., Told]) -> None:
    told = tell()
    other = {"blue.png": b'{"label": "blue"}', "red.jpg": b'{"label": "rose"}'}
    told.run.findings.answers["standby"] = other
    told.run.findings.standby_serving = compare(told.run.findings.baseline, other, Exact())
    text = words(render(told.stored()))
    assert '{"label": "red"}' in text
    assert '{"label": "rose"}' in text
    assert "✗ differs" in text


def test_a_config_that_differs_afterwards_is_no_proof(tell: Callable[..., Told]) -> None:
    told = tell()
    for when, content in (("before", b"a"), ("after", b"b")):
        (told.run.folder / when).mkdir()
        (told.run.folder / when / "gateway.conf").write_bytes(content)
    told.run.findings.config_identical = False
    told.run.findings.left.append("the gateway's config is not the one from before the drill")
    text = words(render(told.stored()))
    assert "RESTORE-INCOMPLETE" in text
    assert text.index("Not put back: the gateway's config is not the one from before") < text.index("Recovery time")
    assert "✗ NOT put back" in text
    assert "✗ gateway: other bytes after than before" in text
    assert "nothing is left to undo" not in text


def test_a_report_of_an_older_drillctl_can_be_shown(tell: Callable[..., Told]) -> None:
    told = tell()
    found = told.stored()
    bare = found.report.model_dump(exclude={"timeline", "context", "config_diffs", "follow_ups"})
    (told.run.folder / "golden.jsonl").unlink()
    from drillctl.report.model import Report
    from drillctl.report.stored import read

    (told.run.folder / "report.json").write_text(Report.model_validate(bare).model_dump_json(exclude_unset=True))
    assert "PASSED" in words(render(read(told.run.folder)))


def test_gates_are_shown_with_rule_and_finding(tell: Callable[..., Told]) -> None:
    from dataclasses import replace

    from drillctl.report.model import GateResult

    found = tell().stored()
    gates = [
        GateResult(name="window", rule="Tue to Thu", found="Wednesday", passed=True, overridden=None),
        GateResult(name="interval", rule="24 h apart", found="3 h", passed=False, overridden="an emergency, by Ana"),
        GateResult(name="blackout", rule="not on 12-31", found="12-31", passed=False, overridden=None),
    ]
    text = words(render(replace(found, report=found.report.model_copy(update={"gates": gates}))))
    for shown in ("✓ passed", "– overridden: an emergency, by Ana", "✗ REFUSED", "24 h apart"):
        assert shown in text


def test_a_drill_without_an_objective_for_the_recovery_has_a_page_as_well(recorded: StoredRun) -> None:
    """Such as `switch --force`, and drills that must not switch at all."""
    recovery = recorded.report.recovery.model_copy(update={"rto_seconds": None})
    text = words(render(replace(recorded, report=recorded.report.model_copy(update={"recovery": recovery}))))
    assert "no objective" in text
    assert "recovery within" not in text


@pytest.mark.parametrize(
    ("digests", "same", "again"),
    [
        ({"primary": "a" * 64, "standby": "a" * 64, "restored": "a" * 64}, "identical", "answers 1 of 1 as before"),
        ({"primary": "a" * 64, "standby": "b" * 64, "restored": "b" * 64}, "tolerance", "answers 0 of 1 as before"),
        ({}, "tolerance", "answers 0 of 1 as before"),
    ],
)
def test_answers_that_were_cut_are_compared_by_the_hashes_of_the_whole_ones(
    recorded: StoredRun, digests: dict[Whose, str], same: str, again: str
) -> None:
    """What is left of two long answers may be the same, or no JSON any more."""
    cut = '{"predictions": [' + " " * 100
    row = GoldenAnswer(image="x.jpg", primary=cut, standby=cut, restored=cut, digests=digests)
    text = words(render(replace(recorded, golden=[row], thumbnails={})))
    assert same in text
    assert again in text
