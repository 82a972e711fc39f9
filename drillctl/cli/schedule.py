"""`drillctl schedule PLAYBOOK`: a drill by the clock, as a timer, a crontab line, a workflow or a CI job."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from drillctl.cli.estate import InventoryOption, inventory_path
from drillctl.cli.run import PlaybookArgument
from drillctl.errors import UsageError

if TYPE_CHECKING:
    from drillctl.inventory import Inventory
    from drillctl.playbook import Playbook
    from drillctl.schedule.job import Artefact, Form, Job

UNITS = {"s": 1, "m": 60, "h": 3600}
MOST_JITTER = 12 * 3600
SELDOM = 3600.0
"""Seconds between two drills below which the command says how many a day that is."""


def schedule(
    playbook: PlaybookArgument,
    every: Annotated[
        str, typer.Option("--every", metavar="WHEN", help="cron (`0 3 * * 1`) or OnCalendar (`Mon 03:00`).")
    ],
    inventory: InventoryOption = None,
    form: Annotated[
        Literal["systemd", "crontab", "github", "gitlab"], typer.Option("--as", help="What to make of it.")
    ] = "systemd",
    jitter: Annotated[str, typer.Option("--jitter", help="Start up to this much later, such as 15m.")] = "0s",
    missed: Annotated[
        Literal["skip", "catch-up"], typer.Option("--missed", help="What becomes of a run missed while off.")
    ] = "skip",
    runner: Annotated[
        str, typer.Option("--runner", help="For a CI: the label (GitHub) or image (GitLab) of the runner.")
    ] = "ubuntu-latest",
    source: Annotated[
        str | None,
        typer.Option(
            "--source", metavar="FROM", help="For a CI: what pip installs drillctl from, such as git+URL@COMMIT."
        ),
    ] = None,
    install: Annotated[bool, typer.Option("--install", help="Put it in its place, after showing a diff.")] = False,
    uninstall: Annotated[bool, typer.Option("--uninstall", help="Take it away, after showing a diff.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Print a drill by the clock, and when it runs next; with --install, put it in its place."""
    from drillctl.schedule import installation
    from drillctl.schedule.job import CI_FORMS

    if install and uninstall:
        raise UsageError("--install and --uninstall exclude each other", state="nothing was changed")
    estate, book, job = _job(playbook, inventory, every, form, _seconds(jitter), missed)
    if form in CI_FORMS and source is None and not uninstall:
        raise _no_source()
    job = replace(job, production=estate.environment == "production", runner=runner, source=source or "")
    artefacts = installation.render(job, form)
    if as_json and not (install or uninstall):
        sys.stdout.write(json.dumps(_document(job, form, artefacts), ensure_ascii=False, indent=2) + "\n")
        return
    if not uninstall:
        _say_when(job, form, estate, book)
    if install or uninstall:
        _change(job, form, artefacts, remove=uninstall, yes=yes)
        return
    for artefact in artefacts:
        sys.stdout.write((f"# --- {artefact.path}\n" if artefact.path else "") + artefact.content)


def _job(
    playbook: str,
    inventory: Path | None,
    every: str,
    form: Form,
    jitter: int,
    missed: Literal["skip", "catch-up"],
) -> tuple[Inventory, Playbook, Job]:
    """Return what is scheduled: the estate, the playbook, and the job made of them."""
    from drillctl import inventory as inventories
    from drillctl import playbook as books
    from drillctl.schedule import expression
    from drillctl.schedule.job import CI_FORMS, Job

    file = books.find(playbook)
    book = books.load(file)
    path = inventory_path(inventory)
    estate = inventories.load(path)
    ships = playbook in books.builtin()
    parsed = expression.parse(every)
    secrets = _secrets(estate)
    if form in CI_FORMS:
        book_path = playbook if ships else _within(file)
        job = Job(estate.name, book.name, parsed, "drillctl", book_path, _within(path), jitter, missed, (), secrets)
        key, known_hosts = _ssh_files(path)
        return estate, book, replace(job, key=key, known_hosts=known_hosts)
    home = os.environ.get("DRILLCTL_HOME")
    job = Job(
        estate=estate.name,
        drill=book.name,
        expression=parsed,
        program=_program(),
        playbook=playbook if ships else str(file.absolute()),
        inventory=str(path.absolute()),
        jitter=jitter,
        missed=missed,
        environment=(("DRILLCTL_HOME", str(Path(home).absolute())),) if home else (),
        secrets=secrets,
    )
    return estate, book, job


def _no_source() -> UsageError:
    return UsageError(
        "a CI has to be told where drillctl comes from",
        hint="say --source git+URL@COMMIT, or --source with the path of a wheel in the repository: no package index "
        "has drillctl yet, and whoever took that name there would get the key of the drill",
        state="nothing was changed",
    )


def _ssh_files(path: Path) -> tuple[str, str | None]:
    """Return where a CI has to put the key and the host keys: where the inventory says, which is read as it is written.

    Host keys that are named by a relative path come with the repository. Raises UsageError for two of either.
    """
    from drillctl import yamlfile
    from drillctl.inventory import Inventory
    from drillctl.schedule.job import DEFAULT_KEY, DEFAULT_KNOWN_HOSTS

    written = yamlfile.load(path).parse(Inventory)
    logins = [written.login(host) for host in written.hosts]
    key = _only("key", [str(login.key or DEFAULT_KEY) for login in logins])
    known_hosts = _only("known_hosts", [str(login.known_hosts or DEFAULT_KNOWN_HOSTS) for login in logins])
    if not key.startswith(("/", "~")):
        key = os.path.relpath(path.parent / key)
    return key, known_hosts if known_hosts.startswith(("/", "~")) else None


def _only(name: str, paths: list[str]) -> str:
    different = sorted(set(paths))
    if len(different) > 1:
        raise UsageError(
            f"the hosts' ssh.{name} differ ({', '.join(different)}), and a CI gets one",
            hint=f"use one ssh.{name} for all hosts, or `--as systemd` on a machine of your own",
            state="nothing was changed",
        )
    return different[0]


def _secrets(estate: Inventory) -> tuple[str, ...]:
    """Return the names of the variables that a drill of an estate reads and that hold secrets."""
    from drillctl.history.address import VARIABLE

    names = [channel.environment for channel in estate.notify if channel.environment]
    return tuple(dict.fromkeys([*names, *([VARIABLE] if os.environ.get(VARIABLE) else [])]))


def _within(path: Path) -> str:
    """Return a path relative to the current folder. Raises UsageError when it is not in it."""
    try:
        return str(path.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        raise UsageError(
            f"{path} is outside this folder, and a CI sees only its repository",
            hint="run this in the repository's top folder, with the inventory and playbook in it",
            state="nothing was changed",
        ) from None


def _program() -> str:
    """Return the absolute path of drillctl as it was called, or as it is found."""
    called = shutil.which(sys.argv[0]) if Path(sys.argv[0]).name == "drillctl" else None
    beside = Path(sys.executable).with_name("drillctl")
    found = called or (str(beside) if beside.is_file() else shutil.which("drillctl"))
    if not found:
        raise UsageError(
            "the program drillctl is not installed, only its source is here",
            hint="install it (`pip install .`) where the clock is to find it",
            state="nothing was changed",
        )
    return str(Path(found).absolute())


def _seconds(text: str) -> int:
    match = re.fullmatch(r"(\d{1,6})(s|m|h)", text)
    seconds = int(match[1]) * UNITS[match[2]] if match else -1
    if not 0 <= seconds <= MOST_JITTER:
        raise UsageError(
            f"--jitter {text} is not a time of at most 12 hours",
            hint="such as 90s, 15m or 1h",
            state="nothing was changed",
        )
    return seconds


def _say_when(job: Job, form: Form, estate: Inventory, book: Playbook) -> None:
    from drillctl.cli.console import err
    from drillctl.schedule.job import CI_FORMS
    from drillctl.wrapping import say

    zone = "UTC" if form in CI_FORMS else "this machine's time"
    runs = _next(job, form)
    later = f", each up to {job.jitter} s later" if job.jitter else ""
    console = err()
    say(console, f"{job.title}: {job.expression.words} ({zone}){later}", markup=False)
    for number, run in enumerate(runs, 1):
        closed = _closed_gate(estate, book, run, job.jitter)
        say(console, f"  run {number}: {run:%a %Y-%m-%d %H:%M:%S %Z}{closed}", markup=False)
    gaps = [(second - first).total_seconds() for first, second in pairwise(runs)]
    if gaps and min(gaps) < SELDOM:
        say(
            console,
            f"caution: two drills are only {min(gaps) / 60:g} minutes apart; each takes the primary away for real. "
            "To look at an estate often without touching it, there is `drillctl watch`.",
            markup=False,
        )


def _closed_gate(estate: Inventory, book: Playbook, run: datetime, jitter: int) -> str:
    """Say which gate of the calendar would refuse a run at its earliest or latest moment; nothing if none would."""
    from drillctl import gates

    needed = timedelta(seconds=book.stop.time_box_seconds)
    for begin in dict.fromkeys((run, run + timedelta(seconds=jitter))):
        for gate in gates.of_calendar(estate, begin, needed, None, {}):
            if not gate.passed:
                return f", which the gate `{gate.name}` will refuse: {gate.found}"
    return ""


def _next(job: Job, form: Form) -> list[datetime]:
    from datetime import UTC

    from drillctl.schedule.expression import local_zone
    from drillctl.schedule.job import CI_FORMS

    return job.expression.next_runs(datetime.now(UTC if form in CI_FORMS else local_zone()))


def _document(job: Job, form: Form, artefacts: tuple[Artefact, ...]) -> dict[str, object]:
    return {
        "schema_version": 1,
        "name": job.name,
        "as": form,
        "words": job.expression.words,
        "cron": job.expression.cron,
        "on_calendar": list(job.expression.calendars),
        "jitter_seconds": job.jitter,
        "missed": job.missed,
        "next_runs": [run.isoformat() for run in _next(job, form)],
        "files": [{"path": artefact.path or None, "content": artefact.content} for artefact in artefacts],
    }


def _change(job: Job, form: Form, artefacts: tuple[Artefact, ...], *, remove: bool, yes: bool) -> None:
    from drillctl.cli import consent
    from drillctl.cli.console import err, out
    from drillctl.schedule import installation

    todo = installation.changes(job, artefacts, remove=remove)
    if not todo:
        out().print(f"{job.name}: {'there is nothing to remove' if remove else 'already in place'}", soft_wrap=True)
        return
    for change in todo:
        err().print(change.diff(), soft_wrap=True, markup=False, end="")
    if not yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError(
                "there is no terminal to ask on", hint="say --yes to go ahead", state="nothing was changed"
            )
        consent.ask("Remove this?" if remove else "Install this?")
    installation.apply(job, form, todo)
    what = "removed" if remove else "installed"
    out().print(f"{job.name}: {what} ({', '.join(change.name for change in todo)})", soft_wrap=True, markup=False)
