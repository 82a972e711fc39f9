"""The end of a drill: whatever cannot be written or rendered, the verdict stands and the rest is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.report import keep, page, stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from told import Told


def kept(told: Told) -> list[str]:
    complaints: list[str] = []
    keep.keep_report(told.run, told.report(), complaints.append)
    return complaints


def test_report_page_and_answers_are_written(tell: Callable[..., Told], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(keep.SUMMARY, raising=False)
    told = tell()
    assert kept(told) == []
    assert {file.name for file in told.run.folder.iterdir()} >= {"report.json", "report.html", "golden.jsonl"}


def test_of_a_long_answer_the_hash_of_the_whole_is_kept(tell: Callable[..., Told]) -> None:
    told = tell()
    name = min(told.run.findings.baseline)
    told.run.findings.baseline = {**told.run.findings.baseline, name: b"[" + b"0," * 9000 + b"1]"}
    assert kept(told) == []
    row = next(row for row in stored.read(told.run.folder).golden if row.image == name)
    assert len(row.primary or "") == 16 << 10
    assert len(row.digests["primary"]) == 64


def test_a_bug_in_a_rendering_loses_nothing_else(tell: Callable[..., Told], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(page, "render", broken)
    told = tell()
    (complaint,) = kept(told)
    assert complaint.startswith("report.html could not be made, which is a bug in drillctl: ZeroDivisionError")
    assert complaint.endswith("`drillctl report 20260101T000000Z-loss-of-zone-0000` tries again")
    assert stored.read(told.run.folder).report.verdict == "passed"


def test_a_folder_that_takes_nothing_is_told(tell: Callable[..., Told]) -> None:
    told = tell()
    for name in ("report.json", "golden.jsonl", "report.html"):
        (told.run.folder / name).mkdir()
    complaints = kept(told)
    assert [complaint.split(" ")[0] for complaint in complaints] == ["report.json", "golden.jsonl", "report.html"]


def test_images_that_are_gone_leave_no_thumbnail(tell: Callable[..., Told], playbook_file: Path) -> None:
    told = tell()
    for image in (playbook_file.parent / "images").iterdir():
        image.unlink()
    assert kept(told) == []
    assert [row.thumbnail for row in stored.read(told.run.folder).golden] == [None, None]


def test_the_summary_of_a_ci_job_gets_the_report_behind_what_it_has(
    tell: Callable[..., Told], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("# Before\n")
    monkeypatch.setenv(keep.SUMMARY, str(summary))
    assert kept(tell()) == []
    assert summary.read_text().startswith("# Before\n## ✓ PASSED: loss-of-zone on shop\n")


def test_a_summary_that_cannot_be_written_is_told(
    tell: Callable[..., Told], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(keep.SUMMARY, str(tmp_path / "none" / "summary.md"))
    (complaint,) = kept(tell())
    assert "summary" in complaint
    assert "No such file or directory" in complaint
