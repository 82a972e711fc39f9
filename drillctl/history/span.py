"""Spans and moments as people write them: `90d`, `12h`, `2026-11-01` (pure)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from drillctl.errors import UsageError
from drillctl.history.record import moment

_UNITS = {
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "y": timedelta(days=365),
}
_LONGEST = timedelta(days=36500)


def span(text: str, option: str) -> timedelta:
    """Return a span of time. Raises UsageError, which names the option."""
    found = re.fullmatch(r"([0-9]{1,9})([hdwy])", text.strip())
    if found is None:
        raise UsageError(f"{option} {text!r} is no span of time", hint="hours, days, weeks or years: 12h, 90d, 26w, 3y")
    # The smallest unit first bounds the product, whatever the number.
    if int(found[1]) > _LONGEST / _UNITS[found[2]]:
        raise UsageError(f"{option} {text!r} is longer than 100 years", hint="name a shorter one")
    return int(found[1]) * _UNITS[found[2]]


def when(text: str, option: str, now: datetime) -> datetime:
    """Return a moment: a date or time in ISO 8601 (UTC where it names no timezone), or a span before now.

    Raises UsageError, which names the option.
    """
    if re.fullmatch(r"[0-9]+[a-z]", text.strip()):
        return now - span(text, option)
    try:
        return moment(text.strip())
    except ValueError:
        raise UsageError(
            f"{option} {text!r} is no time", hint="a date or time such as 2026-11-01, or a span before now such as 90d"
        ) from None
