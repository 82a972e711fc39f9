"""A scheduled drill as a systemd service and its timer (pure)."""

from __future__ import annotations

import re

from drillctl.errors import UsageError
from drillctl.schedule.job import Artefact, Job

SECRETS = "-%E/drillctl/drill.env"
"""Where the variables with secrets are: in /etc, or for a user's timer in ~/.config."""

_PLAIN = re.compile(r"[A-Za-z0-9@/._:=+,-]+")


def render(job: Job, folder: str) -> tuple[Artefact, ...]:
    """Return the two units of a job, to be put into a folder that systemd reads."""
    return (
        Artefact(f"{folder}/{job.name}.service", _service(job)),
        Artefact(f"{folder}/{job.name}.timer", _timer(job)),
    )


def quoted(word: str) -> str:
    """Return a word as systemd reads it back: quoted (systemd.syntax(7)), with the specifiers' % doubled."""
    text = word.replace("%", "%%")
    if _PLAIN.fullmatch(text):
        return text
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(escapes.get(character, character) for character in text) + '"'


def _command(job: Job) -> str:
    """Return the value of ExecStart=."""
    words = job.command
    # systemd takes no quotes or backslashes in the path of the program itself, however they are written.
    if any(character in job.program for character in "\"'\\"):
        if "=" in job.program:
            raise UsageError(
                f"systemd cannot run {job.program}: there are quotes and an equals sign in its path",
                hint="install drillctl elsewhere",
                state="nothing was changed",
            )
        words = ("/usr/bin/env", *words)
    # A colon keeps systemd from reading $ as a variable.
    colon = ":" if any("$" in word for word in words) else ""
    return colon + " ".join(quoted(word) for word in words)


def _service(job: Job) -> str:
    settings = [f"Environment={quoted(f'{name}={value}')}" for name, value in job.environment]
    if job.secrets:
        settings += [f"# Has to hold {', '.join(job.secrets)}: NAME=VALUE, a line each.", f"EnvironmentFile={SECRETS}"]
    return f"""\
# Made by `drillctl schedule`; `drillctl schedule … --uninstall` removes it.
[Unit]
Description={job.title.replace("%", "%%")}
Documentation=man:systemd.timer(5)
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
{"".join(f"{line}{chr(10)}" for line in settings)}\
ExecStart={_command(job)}
# SIGTERM makes drillctl put everything back, and its helpers must live until then.
KillMode=mixed
TimeoutStopSec=10min
"""


def _timer(job: Job) -> str:
    calendars = "".join(f"OnCalendar={calendar.replace('%', '%%')}\n" for calendar in job.expression.calendars)
    late = job.missed == "catch-up"
    jitter = f"RandomizedDelaySec={job.jitter}s\n" if job.jitter else ""
    return f"""\
# Made by `drillctl schedule`, {job.expression.words.replace("%", "%%")}
[Unit]
Description={job.title.replace("%", "%%")}, by the clock

[Timer]
{calendars}{jitter}\
AccuracySec=1s
# A run that was missed while the machine was off is {"made up for when it is back" if late else "skipped"}.
Persistent={"true" if late else "false"}

[Install]
WantedBy=timers.target
"""
