"""The command line's entry: runs the app and maps every error to a message and an exit code."""

from __future__ import annotations

import signal
import sys
import traceback
from typing import TYPE_CHECKING

from drillctl.cli import streams
from drillctl.errors import DrillctlError, OutputLost

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

GLOBAL = ("--debug", "--no-color")
"""The options that count for every command."""


def main() -> None:
    """Run `drillctl` with the arguments of this process; never returns."""
    signal.signal(signal.SIGINT, _interrupted)
    streams.replace()
    from drillctl.cli.app import app
    from drillctl.cli.console import show_bug, show_error

    words = global_first(sys.argv[1:])
    sys.argv[1:] = words
    debug = "--debug" in words[: len(GLOBAL)]
    try:
        try:
            app()
        finally:
            # What is still in the buffer has not been written yet.
            sys.stdout.flush()
    except DrillctlError as error:
        if debug:
            traceback.print_exc()
        # Whoever ended a pipe, as `| head` does, is not to be told so.
        if not (isinstance(error, OutputLost) and error.unread):
            show_error(error)
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 - the last resort of a program: say it, and exit by the right code
        if debug:
            traceback.print_exc()
        show_bug(error, None if debug else keep_traceback())
        sys.exit(70)


def global_first(words: list[str]) -> list[str]:
    """Return the words of a command line with the options that count for all commands before the command.

    They may stand anywhere in it, but not behind `--`, nor among the words of a command that runs on a lab's host.
    """
    if words[:1] == ["lab"] and words[1:2] in (["ssh"], ["root"]):
        return words
    end = words.index("--") if "--" in words else len(words)
    own, rest = words[:end], words[end:]
    return [*(one for one in GLOBAL if one in own), *(word for word in own if word not in GLOBAL), *rest]


def keep_traceback() -> Path | None:
    """Write the traceback of what is being handled to a file at once: nobody is to repeat a drill to see it.

    Returns the file; None when it cannot be written.
    """
    import os
    from datetime import UTC, datetime

    from drillctl.journal import runs_folder

    try:
        folder = runs_folder().parent / "bugs"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}.txt"
        file.write_text(traceback.format_exc(), encoding="utf-8")
    except OSError:
        return None
    return file


def _interrupted(number: int, _frame: FrameType | None) -> None:
    """End by exit code 130, running every `finally`; a drill puts its own handler in place of this one."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
