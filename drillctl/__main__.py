"""The command line's entry: runs the app and maps every error to a message and an exit code."""

from __future__ import annotations

import signal
import sys
import traceback
from typing import TYPE_CHECKING

from drillctl.cli import streams
from drillctl.errors import DrillctlError, OutputLost

if TYPE_CHECKING:
    from types import FrameType


def main() -> None:
    """Run `drillctl` with the arguments of this process; never returns."""
    signal.signal(signal.SIGINT, _interrupted)
    streams.replace()
    from drillctl.cli.app import app
    from drillctl.cli.console import show_bug, show_error

    debug = "--debug" in sys.argv
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
        show_bug(error)
        sys.exit(70)


def _interrupted(number: int, _frame: FrameType | None) -> None:
    """End by exit code 130, running every `finally`; a drill puts its own handler in place of this one."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
