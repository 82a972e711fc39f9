"""The line of a crontab: its syntax as crontab reads it, its words as the shell gets them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from drillctl.errors import UsageError
from drillctl.schedule import crontab

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drillctl.schedule.job import Job

WORDS = "import json, sys; print(json.dumps(sys.argv[1:]))"


def checked(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Have crontab read a file without installing it (`-n`, as in Debian)."""
    file = folder / "crontab"
    file.write_text(text)
    return subprocess.run(["crontab", "-n", str(file)], capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.skipif(shutil.which("crontab") is None, reason="there is no crontab (Debian: cron)")
def test_crontab_accepts_it_and_would_not_accept_a_mistake(tmp_path: Path, make_job: Callable[..., Job]) -> None:
    (artefact,) = crontab.render(make_job("*/30 1-5 * * 1-5", jitter=60))
    assert checked(tmp_path, artefact.content).returncode == 0
    assert checked(tmp_path, artefact.content.replace("*/30", "*/30 61")).returncode != 0


def test_the_shell_gets_every_word_as_it_is(make_job: Callable[..., Job], odd: str) -> None:
    job = make_job(program=sys.executable, environment=(("DRILLCTL_HOME", "/var/50% of it"),))
    line = crontab.render(job)[0].content.splitlines()[2]
    command = line.split(" ", 5)[5]
    assert "%" not in command.replace("\\%", ""), "an unescaped percent sign would end the command"
    # crontab(5): cron takes the backslash before a percent sign away.
    text = command.replace("\\%", "%").replace(f"{sys.executable} run", f"{sys.executable} -c '{WORDS}' run")
    done = subprocess.run(["/bin/sh", "-c", text], capture_output=True, text=True, check=True)
    assert __import__("json").loads(done.stdout) == ["run", odd, "--inventory", "/etc/drillctl/inventory.yaml", "--yes"]


def test_a_block_is_replaced_and_removed_and_what_is_around_it_stays(make_job: Callable[..., Job]) -> None:
    job = make_job()
    (block,) = crontab.render(job)
    own = "MAILTO=ops@example.org\n5 4 * * * backup\n"
    first = crontab.with_block(own, job, block.content)
    assert first == own + block.content
    assert crontab.with_block(first, job, block.content) == first
    (later,) = crontab.render(make_job("0 5 * * 1"))
    assert crontab.with_block(first + "# end\n", job, later.content) == own + later.content + "# end\n"
    assert crontab.with_block(first, job, "") == own
    assert crontab.with_block(own, job, "") == own
    assert crontab.with_block("5 4 * * * backup", job, block.content) == "5 4 * * * backup\n" + block.content


def test_a_block_that_a_person_broke_is_left_alone(make_job: Callable[..., Job]) -> None:
    job = make_job()
    (block,) = crontab.render(job)
    _, end = crontab.marks(job)
    with pytest.raises(UsageError, match="not whole"):
        crontab.with_block(block.content.replace(end + "\n", ""), job, "")


@pytest.mark.parametrize(
    ("when", "more", "why"),
    [
        ("*-*-* *:*:0/30", {}, "seconds"),
        ("0 3 * * 1", {"missed": "catch-up"}, "does not make up for runs"),
        ("0 3 * * 1", {"playbook": "/srv/a\\b.yaml"}, "a backslash"),
        ("0 3 * * 1", {"playbook": "/srv/a\nb.yaml"}, "a line break"),
        ("0 3 * * 1", {"playbook": "/" + "x" * 1000}, "cron takes 998"),
    ],
)
def test_what_cron_cannot_do_is_refused(
    make_job: Callable[..., Job], when: str, more: dict[str, str], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        crontab.render(make_job(when, **more))
