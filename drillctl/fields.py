"""The fields of inventories and playbooks: strings and numbers that are checked as they are read, and their parts."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints


def matching(pattern: str, allowed: str) -> AfterValidator:
    """Return a check that a string matches a whole pattern; `allowed` says in words what is wanted."""

    def check(value: str) -> str:
        if re.fullmatch(pattern, value) is None:
            raise ValueError(f"must be {allowed}")
        return value

    return AfterValidator(check)


Name = Annotated[
    str, matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "a name of letters, digits, `.`, `_` and `-`, at most 63")
]
Address = Annotated[str, matching(r"[A-Za-z0-9_.:\[\]-]{1,253}", "an IP address or a host name")]
UserName = Annotated[
    str,
    matching(
        r"[A-Za-z0-9_][A-Za-z0-9._@\\-]{0,254}\$?",
        "a user's name of letters, digits, `.`, `_`, `-`, `@` and `\\`, a `$` at most at its end",
    ),
]
AbsolutePath = Annotated[str, matching(r"/[^\x00\n\r]*", "an absolute path")]
UrlPath = Annotated[str, matching(r"/\S*", "a path that begins with /")]
Sha256 = Annotated[str, matching(r"[0-9a-f]{64}", "a sha256 in 64 lower-case hex digits, as sha256sum prints it")]
UnitName = Annotated[str, matching(r"[A-Za-z0-9:_.@\\-]+\.service", "a systemd unit's name that ends in .service")]
GatewayUrl = Annotated[str, matching(r"https?://[^\s/?#@]+/?", "a URL such as http://gateway.example, without a path")]
UpstreamName = Annotated[str, matching(r"[A-Za-z0-9_.-]+", "the name of an nginx upstream")]
FlagPath = Annotated[
    str, matching(r"/[A-Za-z0-9_./-]*[A-Za-z0-9_-]", "an absolute path of letters, digits, `.`, `_` and `-`")
]
HaproxySocket = Annotated[
    str, matching(r"/[^\s;,]+|[A-Za-z0-9_.-]+:[0-9]{1,5}", "the path of HAProxy's runtime socket, or its address:port")
]
VariableName = Annotated[str, matching(r"[A-Za-z_][A-Za-z0-9_]*", "a variable's name")]
Line = Annotated[str, matching(r"[^\x00\n]*", "a value of one line")]
Person = Annotated[str, matching(r"[^\x00-\x1f]{1,200}", "a name of one line, at most 200 characters")]
ClockTime = Annotated[
    str, matching(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00", "a time of day such as 22:00, in 24 hours")
]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Environment = dict[VariableName, Line]

WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""In the order of `date.weekday()`."""


def _home_known(path: Path) -> Path:
    """Check that a `~` at the beginning of a path can be replaced."""
    try:
        path.expanduser()
    except RuntimeError:
        raise ValueError(f"must be a path of this machine; whose home `{path.parts[0]}` is, is not known") from None
    return path


def _calendar_day(value: object) -> object:
    """Take a date as YAML has it or as text; pydantic itself would take a number for seconds since 1970."""
    if type(value) is date:
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError("must be a date such as 2026-12-24")


def _time_zone(name: str) -> str:
    """Check the name of an IANA time zone."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"must be an IANA time zone such as Europe/Berlin{_near_zone(name)}") from None
    return name


def _near_zone(name: str) -> str:
    from difflib import get_close_matches
    from zoneinfo import available_timezones

    near = get_close_matches(name, sorted(available_timezones()), n=1, cutoff=0.7)
    return f" (did you mean {near[0]}?)" if near else ""


LocalPath = Annotated[Path, AfterValidator(_home_known)]
Day = Annotated[date, BeforeValidator(_calendar_day)]
TimeZone = Annotated[str, StringConstraints(max_length=64), AfterValidator(_time_zone)]


class Part(BaseModel):
    """A part of an inventory or playbook: unknown keys are refused, and it cannot be changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
