"""Make docs/drill.svg: a picture of what a real drill prints in a terminal. Run: .venv/bin/python docs/capture.py."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

COLUMNS = 118

# Rich's own frame loads a font from the network; this picture must show everywhere.
FRAME = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" xml:space="preserve"
 aria-label="A drill of a zone failover, in a terminal">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
 font-size: {char_height}px; line-height: {line_height}px; white-space: pre; font-variant-east-asian: full-width; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}</defs>
<rect width="{width}" height="{height}" rx="8" fill="#0c0c0c"/>
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""


def run(*words: str) -> str:
    """Run a command in a terminal of its own; return what it printed, colours and all."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "LINES": "60", "TERM": "xterm-256color"}
    environment["DRILLCTL_HOME"] = "/tmp/drillctl"  # noqa: S108 - the same in every picture
    process = subprocess.Popen(words, stdin=follower, stdout=follower, stderr=follower, env=environment, close_fds=True)
    os.close(follower)
    printed = b""
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # Linux ends a terminal whose other side is closed with EIO
            break
        if not chunk:
            break
        printed += chunk
    if process.wait() != 0:
        sys.exit(printed.decode())
    return printed.decode()


def main() -> None:
    """Drill the lab, and write the picture without the plan, which would make it twice as tall."""
    printed = run(sys.executable, "-m", "drillctl", "run", "zone-failover", "--lab", "--yes").replace("\r\n", "\n")
    shown = "$ drillctl run zone-failover --lab --yes\n" + printed.partition("3 hosts.\n")[2].strip("\n")
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(shown))
    svg = console.export_svg(title="A drill of a zone failover", theme=MONOKAI, code_format=FRAME, unique_id="drill")
    (Path(__file__).parent / "drill.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
