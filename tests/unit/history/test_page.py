"""The trend's page: one file, whole, and nothing in it that a run's name could break."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from drillctl.history.page import render
from drillctl.history.record import record_of
from drillctl.history.trend import trend_of

if TYPE_CHECKING:
    from collections.abc import Callable

AT = datetime(2026, 11, 2, tzinfo=UTC)


class Tags(HTMLParser):
    """Collects elements and addresses; fails on an element that is closed without having been opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "data", "action"}]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def page(make_report: Callable[..., dict[str, Any]]) -> Callable[..., str]:
    def make(*told: tuple[str, float | None], **more: Any) -> str:
        runs = [record_of(make_report(n, verdict, outage, **more)) for n, (verdict, outage) in enumerate(told)]
        return render(trend_of(runs, "recovery_time", runs[0].inventory, runs[0].playbook), AT)

    return make


def picture(text: str) -> ET.Element:
    return ET.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])


def test_it_is_whole_and_needs_nothing_from_elsewhere(page: Callable[..., str]) -> None:
    text = page(("passed", 0.2), ("failed", 0.8), ("aborted", None))
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.links == []
    assert "script" not in tags.seen
    assert "url(" not in text
    assert "@import" not in text
    assert "recovery_time of zone-failover on shop" in text


def test_each_run_is_drawn_by_its_kind_and_named(page: Callable[..., str]) -> None:
    drawn = picture(page(("passed", 0.2), ("failed", 0.8), ("aborted", None), ("passed", 0.3)))
    name = "{http://www.w3.org/2000/svg}"
    kinds = [element.get("class") for element in drawn.iter() if element.get("class") in {"counted", "missed", "none"}]
    assert kinds == ["counted", "missed", "none", "counted"]
    titles = [title.text or "" for title in drawn.iter(f"{name}title")]
    assert titles[2] == "20261101T130000Z-zone-failover-0001: failed, 0.80 s"
    heights = [
        float(circle.get("cy", "0")) for circle in drawn.iter(f"{name}circle") if circle.get("class") == "counted"
    ]
    assert heights[0] > heights[1], "the shorter outage is the lower one"
    assert [line.get("class") for line in drawn.iter(f"{name}line")][-2:] == ["objective", "median"]


@pytest.mark.parametrize("nasty", ["</title><script>alert(1)</script>", "a & b < c", '"><img src=x onerror=alert(1)>'])
def test_names_cannot_break_out(page: Callable[..., str], nasty: str) -> None:
    text = page(("passed", 0.2), inventory=nasty, playbook=nasty, run_id=nasty)
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert not {"script", "img"} & set(tags.seen)
    assert tags.links == []
    assert picture(text)[1:][0] is not None
    assert nasty in " ".join(picture(text).itertext())


def test_of_many_runs_all_are_drawn_and_the_newest_are_listed(page: Callable[..., str]) -> None:
    text = page(*[("passed", 0.2 + number / 1000) for number in range(250)])
    assert text.count('class="counted"') == 250
    assert text.count("<tr>") == 1 + 200
    assert "and 50 older runs" in text
