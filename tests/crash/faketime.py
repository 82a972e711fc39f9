"""drillctl under libfaketime, whose sleep refuses moments that have just gone by: that is not what is tried here."""

from __future__ import annotations

import contextlib
import os
import time

_sleep = time.sleep


def sleep(seconds: float) -> None:
    """Sleep; a moment that has gone by needs no sleep."""
    with contextlib.suppress(OSError):
        _sleep(seconds)


def main() -> None:
    """Run drillctl; what it starts has the machine's own clock."""
    time.sleep = sleep
    os.environ.pop("LD_PRELOAD")
    from drillctl.__main__ import main as drillctl

    drillctl()


if __name__ == "__main__":
    main()
