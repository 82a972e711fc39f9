"""Make docs/report.png and docs/report-narrow.png: the HTML report of a real drill, as Chromium shows it.

    .venv/bin/python docs/capture_report.py [FOLDER_OF_A_RUN]

Without a folder, the lab is drilled first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent / "tests" / "support"))


def drilled(home: Path) -> Path:
    """Drill the lab; return the run's folder."""
    words = [sys.executable, "-m", "drillctl", "run", "zone-failover", "--lab", "--yes", "--approver", "值班经理"]
    done = subprocess.run(words, env={**os.environ, "DRILLCTL_HOME": str(home)}, check=False)
    if done.returncode != 0:
        sys.exit(f"the drill ended with exit code {done.returncode}; a picture of a passed one is wanted")
    return next((home / "runs").iterdir())


def capture(page: Path, profile: Path, into: Path) -> None:
    """Write both pictures into a folder: a wide window in light colours, a telephone's in dark ones."""
    from browser import browser

    with browser(profile) as window:
        window.open(page, 1280)
        # Down to the end of the second picture: what one looks at first.
        end = window.ask("return document.querySelectorAll('figure')[1].getBoundingClientRect().bottom")
        window.picture(into / "report.png", end + 20)
        window.open(page, 390, 844, dark=True)
        window.picture(into / "report-narrow.png", 844)


def main() -> None:
    """Drill, or take the run that was named, and look at its report."""
    from drillctl.report import stored
    from drillctl.report.page import render

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else drilled(Path(temporary) / "home")
        page = Path(temporary) / "report.html"
        page.write_text(render(stored.read(folder)), encoding="utf-8")
        capture(page, Path(temporary) / "profile", DOCS)


if __name__ == "__main__":
    main()
