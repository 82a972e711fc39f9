"""The pictures of a run: well-formed, honest about failures, and with nothing in them that a host could smuggle in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from told import BEGAN, probe

from drillctl.report.picture import MOST_MARKS, SMALLEST, close_up, phases, whole_run
from drillctl.report.sheet import NARROW, WIDE

if TYPE_CHECKING:
    from collections.abc import Callable

    from told import Told

    from drillctl.report.picture import Drawing
    from drillctl.report.stored import StoredRun

SVG = "{http://www.w3.org/2000/svg}"
P, S = "P" * 30, "S" * 33


def tree(text: str) -> ET.Element:
    return ET.fromstring(text)


def paths(drawing: Drawing, *classes: str) -> list[str]:
    """Return the d of each path with these classes in the wide picture."""
    return [
        e.get("d", "") for e in tree(drawing.wide).iter(f"{SVG}path") if set(classes) <= set(e.get("class", "").split())
    ]


def texts(svg: str) -> list[str]:
    return [e.text or "" for e in tree(svg).iter(f"{SVG}text")]


def drawn(told: Told) -> tuple[Drawing, Drawing]:
    report, probes = told.report(), told.run.findings.probes
    whole, close = whole_run(report, probes), close_up(report, probes)
    assert whole is not None
    assert close is not None
    return whole, close


def test_both_widths_are_drawn_to_their_size(tell: Callable[..., Told]) -> None:
    for drawing in drawn(tell()):
        assert tree(drawing.wide).get("viewBox", "").split()[2] == str(WIDE)
        assert tree(drawing.narrow).get("viewBox", "").split()[2] == str(NARROW)
        for svg, width in ((drawing.wide, WIDE), (drawing.narrow, NARROW)):
            for element in tree(svg).iter():
                for name in ("x", "x1", "x2"):
                    assert -0.01 <= float(element.get(name, 0)) <= width


def test_close_up_every_request_has_a_mark_of_its_outcome(tell: Callable[..., Told]) -> None:
    told = tell()
    _, close = drawn(told)
    (failed,) = paths(close, "mark", "failed")
    assert failed.count("M") == 7
    begin = float(re.search(r"M([\d.]+)", failed)[1])  # type: ignore[index]
    shade = next(e for e in tree(close.wide).iter(f"{SVG}rect") if "outage" in e.get("class", "").split())
    assert float(shade.get("x", 0)) == pytest.approx(begin + SMALLEST + 0.6, abs=0.2)
    assert len(paths(close, "mark", "primary")) == len(paths(close, "mark", "standby")) == 1


def test_the_error_bar_is_drawn_around_the_end_of_the_outage(tell: Callable[..., Told]) -> None:
    told = tell()
    _, close = drawn(told)
    elements = list(tree(close.wide).iter(f"{SVG}rect"))
    shade = next(e for e in elements if "outage" in e.get("class", "").split())
    bar = next(e for e in elements if "error-bar" in e.get("class", "").split())
    seconds, error = told.report().recovery.outage_seconds, told.report().recovery.uncertainty_seconds
    assert seconds
    assert error
    assert float(bar.get("width", 0)) / float(shade.get("width", 0)) == pytest.approx(2 * error / seconds, rel=0.02)
    end = float(shade.get("x", 0)) + float(shade.get("width", 0))
    assert float(bar.get("x", 0)) + float(bar.get("width", 0)) / 2 == pytest.approx(end, abs=0.2)


def test_one_failed_request_among_60_000_is_drawn_and_marked(tell: Callable[..., Told]) -> None:
    told = tell("P")
    told.run.findings.probes = [probe(n, "x" if n == 31_415 else "P", BEGAN + n * 0.1) for n in range(60_000)]
    drawing = whole_run(told.report(), told.run.findings.probes)
    assert drawing is not None
    (column,) = paths(drawing, "column", "failed")
    bottom, top = map(float, re.fullmatch(r"M[\d.]+ ([\d.]+)V([\d.]+)H[\d.]+V[\d.]+z", column).groups())  # type: ignore[union-attr]
    assert bottom - top >= SMALLEST - 0.1
    assert len(paths(drawing, "failed")) == 2
    assert len(drawing.wide) + len(drawing.narrow) < 200_000


def test_the_largest_latency_is_drawn_however_short_it_lasted(tell: Callable[..., Told]) -> None:
    told = tell("P")
    slow = probe(500, "P", BEGAN + 50)
    object.__setattr__(slow, "done", slow.scheduled + 1.9)
    told.run.findings.probes = [slow if n == 500 else probe(n, "P", BEGAN + n * 0.1) for n in range(20_000)]
    drawing = whole_run(told.report(), told.run.findings.probes)
    assert drawing is not None
    (area,) = paths(drawing, "slowest")
    tops = [float(v) for v in re.findall(r"V([\d.]+)H", area)]
    assert min(tops) < sorted(tops)[1] - 20


def test_too_many_requests_close_up_are_put_together(tell: Callable[..., Told]) -> None:
    told = tell(P + "|" + "x" * (MOST_MARKS + 100) + S + "/SSPP")
    _, close = drawn(told)
    assert paths(close, "mark", "failed") == []
    assert paths(close, "column", "failed")


def test_a_zone_that_is_named_like_markup_is_text(tell: Callable[..., Told]) -> None:
    told = tell()
    evil = '"/><script>alert(1)</script>'
    for one in told.run.findings.probes:
        if one.zone == "zone-b":
            object.__setattr__(one, "zone", evil)
    told.step("<b>&", "<i>", "steps", 3.0, "<s>")
    told.step("<b>&", "<i>", "restore", 7.0, "<s>")
    report, probes = told.report(), told.run.findings.probes
    for drawing in (whole_run(report, probes), close_up(report, probes)):
        assert drawing is not None
        for svg in (drawing.wide, drawing.narrow):
            assert "<script" not in svg
            assert {e.tag.removeprefix(SVG) for e in tree(svg).iter()} <= {"svg", "text", "rect", "line", "path"}
            assert evil in (tree(svg).get("aria-label") or "")


def test_a_run_that_never_recovered_is_shaded_to_the_restore(tell: Callable[..., Told]) -> None:
    told = tell(P + "|" + "x" * 30 + "/" + "x" * 10 + "P" * 20)
    whole, close = drawn(told)
    shade = next(e for e in tree(whole.wide).iter(f"{SVG}rect") if "outage" in e.get("class", "").split())
    assert float(shade.get("width", 0)) > 250
    assert any("not recovered" in text for text in texts(whole.wide))
    assert close is not None


def test_without_requests_there_is_no_picture(tell: Callable[..., Told]) -> None:
    report = tell("").report()
    assert whole_run(report, []) is None
    assert close_up(report, []) is None


def test_a_run_without_a_fault_has_no_close_up(tell: Callable[..., Told]) -> None:
    told = tell(P)
    assert close_up(told.report(), told.run.findings.probes) is None
    assert whole_run(told.report(), told.run.findings.probes) is not None


def test_a_single_request_can_be_drawn(tell: Callable[..., Told]) -> None:
    told = tell("P")
    assert whole_run(told.report(), told.run.findings.probes) is not None


def test_phases_follow_each_other(recorded: StoredRun) -> None:
    found = phases(recorded.report)
    assert [name for name, _, _ in found] == [
        "baseline", "fault", "detect", "switch", "verify", "heal", "failback", "verify", "disarm",
    ]  # fmt: skip
    assert all(began <= ended for _, began, ended in found)


def test_a_switch_without_a_fault_is_drawn_close_up_as_well(tell: Callable[..., Told]) -> None:
    told = tell("P" * 30 + "S" * 33)
    told.run.moments.switch_began = BEGAN + 2.9
    told.run.moments.active = BEGAN + 3.05
    close = close_up(told.report(), told.run.findings.probes)
    assert close is not None
    shown = texts(close.wide)
    assert "switch begins 4.90 s" in shown
    assert "switched +0.15 s" in shown
    assert not any("fault" in text for text in shown)
    assert paths(close, "mark", "failed") == []
