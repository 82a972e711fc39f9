"""Putting a scheduled drill in its place, and taking it away: shown as a diff first, safe to repeat."""

from __future__ import annotations

import difflib
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from drillctl.errors import UsageError
from drillctl.schedule import crontab, units, workflow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drillctl.schedule.job import Artefact, Form, Job

MARK = "# Made by `drillctl schedule`"
"""How every file that is made here begins; a file that begins otherwise is somebody else's."""


@dataclass(frozen=True)
class Change:
    """One file, or the crontab when `path` is empty, before and after; None where there is none."""

    path: str
    before: str | None
    after: str | None

    @property
    def name(self) -> str:
        """Return what is changed, for a person."""
        return self.path or "crontab"

    def diff(self) -> str:
        """Return it as a unified diff."""
        old, new = (text.splitlines(keepends=True) if text else [] for text in (self.before, self.after))
        names = (
            self.name if self.before is not None else "/dev/null",
            self.name if self.after is not None else "/dev/null",
        )
        return "".join(difflib.unified_diff(old, new, *names))


def render(job: Job, form: Form) -> tuple[Artefact, ...]:
    """Return what a job looks like in a form. Raises UsageError for what the form cannot say."""
    if form == "systemd":
        return units.render(job, unit_folder())
    return {"crontab": crontab.render, "github": workflow.github, "gitlab": workflow.gitlab}[form](job)


def unit_folder() -> str:
    """Return where units of this user belong: the system's for root, else the user's own (systemd.unit(5))."""
    if os.geteuid() == 0:
        return "/etc/systemd/system"
    return str(Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd/user")


def changes(job: Job, artefacts: Sequence[Artefact], *, remove: bool) -> list[Change]:
    """Return what there is to change. Raises UsageError when somebody else's file is in the place."""
    found = []
    for artefact in artefacts:
        if artefact.path:
            before = _read(Path(artefact.path))
            after = None if remove else artefact.content
            if before is not None and not before.startswith(MARK):
                raise UsageError(
                    f"{artefact.path} was not made by `drillctl schedule`",
                    hint="move it away, then try again",
                    state="nothing was changed",
                )
        else:
            before = _read_crontab()
            after = crontab.with_block(before, job, "" if remove else artefact.content)
        if before != after:
            found.append(Change(artefact.path, before, after))
    return found


def apply(job: Job, form: Form, todo: Sequence[Change]) -> None:
    """Make changes, the timer's start and stop with them. Raises UsageError with what was and was not done."""
    gone = [change for change in todo if change.after is None and change.path]
    made = [change for change in todo if change.after is not None and change.path]
    if form == "systemd":
        _verify(made)
        if any(change.path.endswith(".timer") for change in gone):
            _systemctl("disable", "--now", f"{job.name}.timer")
    for change in todo:
        if not change.path:
            _write_crontab(change.after or "")
        elif change.after is None:
            _remove(Path(change.path))
        else:
            _write(Path(change.path), change.after)
    if form == "systemd" and todo:
        _systemctl("daemon-reload")
        if made:
            _systemctl("enable", f"{job.name}.timer")
            # `enable --now` would leave a timer that runs at its old time.
            _systemctl("restart", f"{job.name}.timer")


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _failed(f"{path} cannot be read: {error}", "nothing was changed") from None


def _write(path: Path, content: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            os.fchmod(descriptor, 0o644)
            os.fsync(descriptor)
        Path(name).replace(path)
    except OSError as error:
        raise _failed(f"{path} cannot be written: {error.strerror}", "it is as it was") from None


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _failed(
            f"{path} cannot be removed: {error.strerror}", "it is still there; the same may be repeated"
        ) from None


def _read_crontab() -> str:
    done = _run(["crontab", "-l"])
    if done.returncode != 0:
        if "no crontab" in done.stderr:
            return ""
        raise _failed(f"`crontab -l` says: {_last(done.stderr)}", "nothing was changed")
    return done.stdout


def _write_crontab(content: str) -> None:
    done = _run(["crontab", "-"], content)
    if done.returncode != 0:
        raise _failed(f"crontab refuses it: {_last(done.stderr)}", "the crontab is as it was")


def _verify(made: Sequence[Change]) -> None:
    """Have systemd read the units before they are put in place."""
    if not made:
        return
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for change in made:
            path = Path(folder, Path(change.path).name)
            path.write_text(change.after or "", encoding="utf-8")
            paths.append(str(path))
        done = _run(["systemd-analyze", "verify", *paths])
        said = [line for line in done.stderr.splitlines() if folder in line or any(Path(p).name in line for p in paths)]
        if done.returncode != 0 and said:
            raise _failed(f"systemd does not accept the units: {said[0]}", "nothing was changed")


def _systemctl(*words: str) -> None:
    scope = [] if os.geteuid() == 0 else ["--user"]
    done = _run(["systemctl", *scope, *words])
    if done.returncode != 0:
        raise _failed(
            f"`systemctl {' '.join([*scope, *words])}` says: {_last(done.stderr)}",
            "the files are in place, the timer may not be; the same command may be repeated",
        )


def _run(command: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise _failed(f"there is no `{command[0]}` on this machine", "nothing was changed") from None
    except subprocess.TimeoutExpired as error:
        raise _failed(
            f"`{' '.join(command[:3])}` did not end within {error.timeout:g} s",
            "what it was to do may or may not be done; the same command may be repeated",
        ) from None


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing"


def _failed(message: str, state: str) -> UsageError:
    return UsageError(message, state=state, hint="without --install it is printed, for you to put in its place")
