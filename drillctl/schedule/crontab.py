"""A scheduled drill as a line of a crontab (pure), between two comments by which it is found again."""

from __future__ import annotations

import shlex

from drillctl.errors import UsageError
from drillctl.schedule.job import Artefact, Job

LONGEST = 998
"""Characters that cron(8) of Debian takes for a command; a longer line it cuts."""


def render(job: Job) -> tuple[Artefact, ...]:
    """Return the block of a job. Raises UsageError for what a crontab cannot say."""
    cron = job.expression.cron
    if cron is None:
        raise UsageError(
            f"a crontab cannot say `{job.expression.given}`: {job.expression.why_not_cron}",
            hint="use a timer of systemd (--as systemd), or another time",
            state="nothing was changed",
        )
    if job.missed == "catch-up":
        raise UsageError(
            "cron does not make up for runs that were missed while the machine was off",
            hint="use a timer of systemd (--as systemd), or --missed skip",
            state="nothing was changed",
        )
    command = _command(job)
    begin, end = marks(job)
    line = f"# {job.expression.words}, by the clock of this machine"
    if job.secrets:
        line += f"\n# The crontab has to set, above this: {', '.join(job.secrets)}"
    return (Artefact("", f"{begin}\n{line}\n{cron} {command}\n{end}\n"),)


def marks(job: Job) -> tuple[str, str]:
    """Return the comments before and after a job's line."""
    return f"# {job.name}: begin (made by `drillctl schedule`)", f"# {job.name}: end"


def with_block(crontab: str, job: Job, block: str) -> str:
    """Return a crontab with the job's block in place of the one it had; an empty block removes it.

    Raises UsageError when a block has no end: then a person has been at it.
    """
    begin, end = marks(job)
    lines = crontab.splitlines(keepends=True)
    places = [number for number, line in enumerate(lines) if line.rstrip("\n") in {begin, end}]
    if not places:
        gap = "" if not crontab or crontab.endswith("\n") or not block else "\n"
        return crontab + gap + block
    if len(places) != 2 or lines[places[0]].rstrip("\n") != begin or lines[places[1]].rstrip("\n") != end:
        raise UsageError(
            f"the block of {job.name} in the crontab is not whole",
            hint="mend it with `crontab -e`: one line of begin, one of end",
            state="nothing was changed",
        )
    first, last = places
    return "".join(lines[:first]) + block + "".join(lines[last + 1 :])


def _command(job: Job) -> str:
    words = [f"{name}={value}" for name, value in job.environment]
    text = shlex.join([*(("env", *words) if words else ()), *job.command])
    if job.jitter:
        text = f'sleep "$(shuf -i 0-{job.jitter} -n 1)" && {text}'
    for character, name in (("\\", "a backslash"), ("\n", "a line break"), ("\r", "a carriage return")):
        if character in text:
            raise UsageError(
                f"a path holds {name}, which not every cron passes on as it is",
                hint="use a timer of systemd (--as systemd), or rename the file",
                state="nothing was changed",
            )
    # crontab(5): a percent sign would end the command and begin its input.
    text = text.replace("%", "\\%")
    if len(text) > LONGEST:
        raise UsageError(
            f"the command has {len(text)} characters; cron takes {LONGEST}",
            hint="use shorter paths, or a timer of systemd (--as systemd)",
            state="nothing was changed",
        )
    return text
