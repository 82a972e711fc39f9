"""The end of a drill: all that its report needs, written to its folder. What cannot be written loses no run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from drillctl.report import stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.report.model import Report
    from drillctl.run import Run

SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable in which GitHub Actions names the file whose Markdown it shows with a job."""


def keep_report(run: Run, report: Report, tell: Callable[[str], None]) -> None:
    """Write report.json, the golden answers, report.html and the job's summary; say what could not be written.

    Never raises: the verdict stands, whatever happens to a rendering of it.
    """
    again = f"`drillctl report {report.run_id}` tries again"
    _attempt("report.json", "the report is on stdout with --json", tell, lambda: _document(run.folder, report))
    _attempt("golden.jsonl", "the report will show no golden answers", tell, lambda: stored.keep_golden(run))
    _attempt("report.html", again, tell, lambda: _page(run.folder))
    if summary := os.environ.get(SUMMARY):
        _attempt(f"the job's summary {summary}", again, tell, lambda: _append(Path(summary), run.folder))


def _attempt(what: str, then: str, tell: Callable[[str], None], write: Callable[[], None]) -> None:
    try:
        write()
    except OSError as error:
        tell(f"{what} could not be written: {error.strerror or error}; {then}")
    except Exception as error:  # noqa: BLE001 - a bug in a rendering must not turn a drill's verdict into exit code 70
        tell(f"{what} could not be made, which is a bug in drillctl: {type(error).__name__}: {error}; {then}")


def _document(folder: Path, report: Report) -> None:
    (folder / "report.json").write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _page(folder: Path) -> None:
    from drillctl.report.page import render

    (folder / "report.html").write_text(render(stored.read(folder)), encoding="utf-8")


def _append(summary: Path, folder: Path) -> None:
    from drillctl.report.markdown import render

    with summary.open("a", encoding="utf-8") as file:
        file.write(render(stored.read_report(folder)))
