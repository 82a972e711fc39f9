"""An error that nobody foresaw, in words: one host's odd answer must not end a patrol that watches all of them."""

from __future__ import annotations

import traceback
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def in_words(error: Exception) -> str:
    """Return its type, and where in drillctl it came up.

    Its own message is left out: it may hold what a host said, and change from look to look.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_PACKAGE)]
    place = f", {Path(own[-1].filename).relative_to(_PACKAGE)}:{own[-1].lineno}" if own else ""
    return f"a bug in drillctl, please report it ({type(error).__name__}{place})"
