"""When a drill runs: a cron expression or a calendar expression of systemd, and each as the other.

cron has five fields, the smallest of which is minutes (crontab(5)); `*/30 * * * *` is every 30 minutes. The calendar
expressions of systemd.time(7) also know seconds. `systemd-analyze calendar` is asked what it makes of the latter.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

from drillctl.errors import UsageError

if TYPE_CHECKING:
    from datetime import tzinfo

NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")

_INTERVAL = re.compile(r"(every )?\d+ ?(s|sec|seconds?|m|min|minutes?|h|hours?|d|days?)")
_CRON_FIELD = re.compile(r"[0-9A-Za-z*,/-]+")
_NORMALISED = re.compile(
    r"(?:(?P<weekdays>[A-Za-z.,]+) )?\*-(?P<months>\S+)-(?P<days>\S+) (?P<h>[^:\s]+):(?P<m>[^:\s]+):00"
)
_ELAPSE = re.compile(r"^\s*(?:Next elapse|Iter\. #\d+): (.+)$|^\s*\(in UTC\): (.+)$")


@dataclass(frozen=True)
class Expression:
    """When to run. `cron` is None for what cron cannot say, which `why_not_cron` tells; the two forms mean the same.

    `calendars` are OnCalendar= values, of which any one starts the drill. `words` say it for a person.
    """

    given: str
    cron: str | None
    calendars: tuple[str, ...]
    words: str
    why_not_cron: str = ""

    def next_runs(self, after: datetime, count: int = 3) -> list[datetime]:
        """Return the next runs after an aware datetime, in its time zone; fewer when there are no more."""
        if self.cron is None:
            return [at.astimezone(after.tzinfo) for at in _systemd(self.calendars[0], count)[1]]
        from cronsim import CronSim

        return list(islice(CronSim(self.cron, after), count))


def parse(text: str) -> Expression:
    """Read an expression. Raises UsageError with what would do."""
    given = " ".join(text.split())
    if not given or any(not character.isprintable() for character in given):
        raise _refused(text, "it is empty or holds what cannot be printed")
    if _INTERVAL.fullmatch(given.lower()):
        raise _refused(
            given,
            "a drill runs at times of a calendar, not at intervals",
            "`drillctl watch --every 30s` looks at an estate every 30 seconds, without touching it",
        )
    fields = NICKNAMES.get(given.lower(), given).split(" ")
    if len(fields) >= 5:
        if len(fields) > 5:
            raise _refused(given, f"cron has five fields and no seconds; these are {len(fields)}")
        return _from_cron(given, fields)
    return _from_calendar(given)


def _from_cron(given: str, fields: list[str]) -> Expression:
    from cronsim import CronSim, CronSimError

    cron = " ".join(fields)
    names = {name.upper() for name in WEEKDAYS} | {
        datetime(2000, m, 1, tzinfo=UTC).strftime("%b").upper() for m in range(1, 13)
    }
    words = {word.upper() for field in fields for word in re.findall("[A-Za-z]+", field)}
    if words - names or not all(_CRON_FIELD.fullmatch(field) for field in fields):
        raise _refused(given, "a field of it is not one that cron(8) reads")
    try:
        simulated = CronSim(cron, datetime.now(UTC))
        words_for_it = simulated.explain()
    except CronSimError as error:
        raise _refused(given, str(error)) from None
    hours, minutes = _listed(simulated.hours, 24), _listed(simulated.minutes, 60)
    months = _listed(simulated.months, 12)
    days = _listed({day for day in simulated.days if isinstance(day, int)}, 31)
    weekday_numbers = sorted({day % 7 for day in simulated.weekdays if isinstance(day, int)})
    weekdays = "" if len(weekday_numbers) == 7 else ",".join(WEEKDAYS[day] for day in weekday_numbers) + " "
    clock = f"{hours}:{minutes}:00"
    if simulated.day_and:
        calendars: tuple[str, ...] = (f"{weekdays}*-{months}-{days} {clock}",)
    else:
        # crontab(5): when both fields of a day are restricted, either of them is enough.
        calendars = (f"*-{months}-{days} {clock}", f"{weekdays}*-{months}-* {clock}")
    return Expression(given, cron, calendars, _lower(words_for_it))


def _listed(values: object, full: int) -> str:
    numbers = sorted(values)  # type: ignore[call-overload]
    return "*" if len(numbers) == full else ",".join(f"{number:02d}" for number in numbers)


def _from_calendar(given: str) -> Expression:
    normalised, runs = _systemd(given, 1)
    if not runs:
        raise _refused(given, "it never comes again")
    cron, why_not = _cron_of(normalised)
    if cron is None:
        return Expression(given, None, (normalised,), f"at {normalised}", why_not)
    return Expression(given, cron, (normalised,), _from_cron(cron, cron.split(" ")).words)


def _cron_of(normalised: str) -> tuple[str | None, str]:
    """Return a normalised calendar expression as one of cron, or None and why that cannot be (pure)."""
    match = _NORMALISED.fullmatch(normalised)
    if match is None:
        return None, "it names seconds, a year or a time zone, which cron does not know"
    parts = []
    for name, first, last in (("m", 0, 59), ("h", 0, 23), ("days", 1, 31), ("months", 1, 12)):
        field = _cron_field(match[name], first, last)
        if field is None:
            return None, f"cron cannot say `{match[name]}`"
        parts.append(field)
    weekdays = "*"
    if match["weekdays"]:
        spans = [span.split("..") for span in match["weekdays"].split(",")]
        weekdays = ",".join("-".join(str(WEEKDAYS.index(day) or 7) for day in span) for span in spans)
        if parts[2] != "*":
            return None, "a weekday and a day of the month must both hold, while for cron either is enough"
    return " ".join([*parts, weekdays]), ""


def _cron_field(text: str, first: int, last: int) -> str | None:
    """Return one component of a normalised calendar expression as a field of cron."""
    if text == "*":
        return "*"
    fields = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\.\.(\d+))?(?:/(\d+))?", part)
        if match is None:
            return None
        begin, end, step = int(match[1]), match[2], match[3]
        if step and not end:
            fields.append(f"*/{int(step)}" if begin == first else f"{begin}-{last}/{int(step)}")
        else:
            fields.append(f"{begin}" + (f"-{int(end)}" if end else "") + (f"/{int(step)}" if step else ""))
    return ",".join(fields)


def _systemd(expression: str, count: int) -> tuple[str, list[datetime]]:
    """Ask systemd-analyze for the normalised form and the next runs, in UTC. Raises UsageError when it refuses."""
    command = ["systemd-analyze", "calendar", f"--iterations={count}", "--", expression]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            env=_environment(),
        )
    except FileNotFoundError:
        raise _refused(
            expression,
            "it has no five fields, and there is no systemd-analyze here to read it as a calendar expression",
        ) from None
    except subprocess.TimeoutExpired as error:
        raise _refused(expression, f"systemd-analyze did not read it within {error.timeout:g} s") from None
    if done.returncode != 0:
        raise _refused(expression, (done.stderr.strip().splitlines() or ["systemd-analyze refuses it"])[-1])
    normalised = next(
        (line.split(":", 1)[1].strip() for line in done.stdout.splitlines() if "Normalized form:" in line), expression
    )
    runs: list[datetime] = []
    for line in done.stdout.splitlines():
        match = _ELAPSE.match(line)
        if match and (at := _utc(match[1] or match[2])) is not None:
            runs.append(at)
    return normalised, runs


def _utc(text: str) -> datetime | None:
    """Return a time that systemd-analyze printed in UTC; None for one in another zone, which it repeats in UTC."""
    match = re.fullmatch(r"\w{3} (\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2})(?:\.\d+)? UTC", text.strip())
    return datetime.fromisoformat(match[1]).replace(tzinfo=UTC) if match else None


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0"}


def _lower(words: str) -> str:
    return words[:1].lower() + words[1:]


def _refused(text: str, why: str, also: str = "") -> UsageError:
    hint = "cron, such as `0 3 * * 1` (Mondays at 3:00), or a calendar expression of systemd, such as `Mon 03:00`"
    return UsageError(
        f"`{text}` is no time at which a drill can run: {why}",
        hint=f"{hint}; {also}" if also else hint,
        state="nothing was changed",
    )


def local_zone() -> tzinfo:
    """Return this machine's time zone, with its changes between summer and winter where they can be known."""
    import os
    from pathlib import Path
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    name = os.environ.get("TZ", "").removeprefix(":")
    if not name:
        _, _, name = os.path.realpath("/etc/localtime").rpartition("/zoneinfo/")
    if name and not Path(name).is_absolute():
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass
    zone = datetime.now().astimezone().tzinfo
    return zone if zone is not None else UTC
