"""The HTML report in a real Chromium, as people look at it: large and small, light and dark, and on paper."""

from __future__ import annotations

import itertools
import runpy
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser import Browser, browser
from PIL import Image
from told import RECORDED

from drillctl.drill import Ending
from drillctl.errors import NotStarted
from drillctl.report import stored
from drillctl.report.page import render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from told import Told

DOCS = Path(__file__).resolve().parents[3] / "docs"
VERDICT = stored.read_report(RECORDED).verdict.upper()
SIZES = [(1280, 900), (390, 844)]
MODES = [False, True]
READABLE = 4.5
"""The contrast that WCAG 2 AA asks of text."""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as window:
        yield window


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(render(stored.read(RECORDED)), encoding="utf-8")
    return file


def box(window: Browser, selector: str) -> dict[str, float]:
    found: dict[str, Any] = window.ask(f"return document.querySelector({selector!r}).getBoundingClientRect().toJSON()")
    return found


@pytest.mark.parametrize("dark", MODES, ids=["light", "dark"])
@pytest.mark.parametrize(("width", "height"), SIZES, ids=["1280", "390"])
class TestOnAnyScreen:
    @pytest.fixture(autouse=True)
    def _open(self, chromium: Browser, page: Path, width: int, height: int, dark: bool) -> None:
        chromium.complaints()
        chromium.requests()
        chromium.open(page, width, height, dark=dark)

    def test_nothing_is_asked_of_the_network_and_nothing_complained_of(self, chromium: Browser, page: Path) -> None:
        assert chromium.requests() == [page.as_uri()]
        assert chromium.complaints() == []

    def test_nothing_has_to_be_scrolled_sideways(self, chromium: Browser, width: int) -> None:
        assert chromium.ask("return document.documentElement.scrollWidth") == width
        wider = "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
        assert chromium.ask(f"return {wider}.map(e => e.outerHTML.slice(0, 120))") == []

    def test_verdict_and_figures_are_seen_first(self, chromium: Browser, width: int, height: int) -> None:
        verdict, figures = box(chromium, ".verdict strong"), box(chromium, ".figures")
        assert 0 < verdict["top"] < verdict["bottom"] < 300
        assert figures["bottom"] < height
        assert chromium.ask("return document.querySelector('.verdict strong').innerText")[2:] == VERDICT
        assert box(chromium, ".objectives")["top"] < height

    def test_every_text_can_be_read(self, chromium: Browser) -> None:
        contrasts = chromium.contrasts()
        assert len(contrasts) > 300
        assert [text for ratio, text in contrasts if ratio < READABLE] == []

    def test_every_image_is_shown(self, chromium: Browser) -> None:
        loaded = chromium.ask("return [...document.images].map(i => i.complete && i.naturalWidth > 10)")
        assert loaded == [True] * len(stored.read_golden(RECORDED / "golden.jsonl"))

    def test_one_picture_of_each_kind_is_shown_to_its_full_width(self, chromium: Browser, width: int) -> None:
        shown = chromium.ask(
            "return [...document.querySelectorAll('svg.picture')].map(e => e.getBoundingClientRect().width)"
        )
        assert len(shown) == 4
        assert [drawn > 0 for drawn in shown] == ([True, False] * 2 if width > 700 else [False, True] * 2)
        assert max(shown) >= min(width, 1080) - 50

    def test_text_in_the_pictures_is_large_enough(self, chromium: Browser) -> None:
        heights = chromium.ask(
            "return [...document.querySelectorAll('svg.picture text')].map(e => e.getBoundingClientRect().height)"
            ".filter(h => h > 0)"
        )
        assert min(heights) >= 11

    def test_labels_in_the_pictures_do_not_cover_each_other(self, chromium: Browser) -> None:
        covered = chromium.ask(
            "const t = [...document.querySelectorAll('svg.picture text')].filter(e => e.getClientRects().length);"
            "const b = t.map(e => e.getBoundingClientRect()); const found = [];"
            "for (let i = 0; i < t.length; i++) for (let j = 0; j < i; j++) {"
            "  const w = Math.min(b[i].right, b[j].right) - Math.max(b[i].left, b[j].left);"
            "  const h = Math.min(b[i].bottom, b[j].bottom) - Math.max(b[i].top, b[j].top);"
            "  if (w > 2 && h > 4) found.push(t[i].textContent + ' / ' + t[j].textContent); } return found;"
        )
        assert covered == []

    def test_the_mode_is_followed(self, chromium: Browser, dark: bool) -> None:
        red = int(chromium.ask("return getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]"))
        assert red < 40 if dark else red > 240


def test_chinese_labels_have_glyphs(chromium: Browser, page: Path) -> None:
    """A character without a glyph is drawn as the same box as any other one."""
    chromium.open(page)
    answers = chromium.ask("return [...document.querySelectorAll('.answer b')].map(e => e.textContent)")
    assert "蓝色圆形" in answers
    differ = chromium.ask(
        "const draw = text => { const c = document.createElement('canvas'); c.width = c.height = 40;"
        "const g = c.getContext('2d'); g.font = '24px ' + getComputedStyle(document.body).fontFamily;"
        "g.fillText(text, 4, 30); return g.getImageData(0, 0, 40, 40).data.join(); };"
        "return new Set(['蓝', '色', '圆', '形', '\\uffff'].map(draw)).size"
    )
    assert differ == 5


def test_links_lead_to_their_sections(chromium: Browser, page: Path) -> None:
    chromium.open(page)
    dangling = "[...document.querySelectorAll('nav a')].filter(a => !document.querySelector(a.getAttribute('href')))"
    assert chromium.ask("return document.querySelectorAll('nav a').length") >= 9
    assert chromium.ask(f"return {dangling}.length") == 0


def test_what_is_read_aloud_has_names(chromium: Browser, page: Path) -> None:
    """Each picture has its words, headings are in order, and results are words and not colours."""
    chromium.open(page)
    words = chromium.ask("return [...document.querySelectorAll('svg.picture')].map(e => e.getAttribute('aria-label'))")
    assert all("failed" in text and "Outage" in text for text in words)
    levels = chromium.ask("return [...document.querySelectorAll('h1,h2,h3')].map(e => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    assert all(
        text.strip("✓✗?– ")
        for text in chromium.ask("return [...document.querySelectorAll('.result')].map(e => e.textContent)")
    )


def test_on_paper_nothing_is_lost(chromium: Browser, page: Path, tmp_path: Path) -> None:
    chromium.open(page, dark=True)
    chromium.paper(tmp_path / "report.pdf")
    text = subprocess.run(
        ["pdftotext", "-layout", "report.pdf", "-"], cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    pages = text.split("\f")
    assert 5 <= len(pages) - 1 <= 12
    assert VERDICT in pages[0]
    assert "recovery time" in pages[0]
    for title in ("What clients saw", "Steps", "Same outputs", "Gateway config", "Scope and people"):
        assert title in text
    assert text.count("✓ identical") == len(stored.read_golden(RECORDED / "golden.jsonl"))
    assert "蓝色圆形" in text
    for name in ("zone-a-1", "zone-b-1"):
        assert name in text


def test_on_paper_it_is_dark_on_white(chromium: Browser, page: Path, tmp_path: Path) -> None:
    from PIL import Image

    chromium.open(page, dark=True)
    chromium.paper(tmp_path / "report.pdf")
    subprocess.run(["pdftoppm", "-r", "30", "-f", "1", "-l", "1", "-png", "report.pdf", "p"], cwd=tmp_path, check=True)
    with Image.open(next(tmp_path.glob("p*.png"))) as image:
        grey = image.convert("L").tobytes()
    assert sum(value > 200 for value in grey) > 0.8 * len(grey)
    assert min(grey) < 100


def test_a_failed_drill_says_so_at_once(chromium: Browser, tell: Callable[..., Told], tmp_path: Path) -> None:
    file = tmp_path / "failed.html"
    file.write_text(render(tell("P" * 30 + "|" + "x" * 60 + "S" * 33 + "/SSPP").stored()), encoding="utf-8")
    chromium.open(file, *SIZES[1])
    assert chromium.ask("return document.querySelector('.verdict').innerText").startswith("✗ FAILED")
    assert "Missed: recovery time" in chromium.ask("return document.querySelector('.verdict').innerText")
    assert box(chromium, ".verdict")["bottom"] < 600


def test_a_refused_drill_without_traffic_is_whole(chromium: Browser, tell: Callable[..., Told], tmp_path: Path) -> None:
    told = tell("")
    told.run.changed = False
    told.run.findings.config_identical = None
    error = NotStarted("the zones are not isolated: one machine-id " + "0123456789abcdef" * 20)
    file = tmp_path / "refused.html"
    file.write_text(render(told.stored(Ending(refused=True, error=error))), encoding="utf-8")
    chromium.complaints()
    chromium.open(file, *SIZES[1])
    assert chromium.ask("return document.documentElement.scrollWidth") == 390
    assert "NOT-STARTED" in chromium.ask("return document.querySelector('.verdict').innerText")
    assert chromium.complaints() == []


def test_an_attack_in_a_name_runs_nothing(chromium: Browser, tell: Callable[..., Told], tmp_path: Path) -> None:
    told = tell()
    evil = "<script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">"
    told.step(evil, evil, "steps", 3.0, evil)
    told.run.findings.started.append(evil)
    file = tmp_path / "attack.html"
    file.write_text(render(told.stored()), encoding="utf-8")
    chromium.requests()
    chromium.open(file)
    assert chromium.driver.title.startswith("PASSED: loss-of-zone")
    assert chromium.requests() == [file.as_uri()]
    assert evil in chromium.ask("return document.body.innerText")


def test_the_pictures_of_the_documentation_can_be_made(page: Path, tmp_path: Path) -> None:
    """By the script that makes those in docs/, here of the recorded run."""
    capture = runpy.run_path(str(DOCS / "capture_report.py"), run_name="capture")["capture"]
    capture(page, tmp_path / "profile", tmp_path)
    for name, width in (("report.png", 1280), ("report-narrow.png", 390)):
        with Image.open(tmp_path / name) as made, Image.open(DOCS / name) as shown:
            assert shown.width == width
            # Something is drawn: an empty page has one colour.
            for picture in (made, shown):
                assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 100
