"""Units of a scheduled drill, read by systemd itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drillctl.schedule import units

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.schedule.job import Job

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")


def verify(folder: Path, job: Job) -> subprocess.CompletedProcess[str]:
    made = units.render(job, str(folder))
    for artefact in made:
        Path(artefact.path).write_text(artefact.content)
    return subprocess.run(
        ["systemd-analyze", "verify", *(artefact.path for artefact in made)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what it says of our units; of the machine's own it may complain too."""
    return [line for line in done.stderr.splitlines() if "drillctl-shop" in line]


@pytest.mark.parametrize("when", ["0 3 * * 1", "*/30 * * * *", "0 4 1 * 1", "Mon *-*-1..7 03:00", "*-*-* *:*:0/30"])
def test_systemd_accepts_them(tmp_path: Path, make_job: Callable[..., Job], when: str) -> None:
    job = make_job(when, jitter=900, missed="catch-up", environment=(("DRILLCTL_HOME", "/var/lib/50% of it"),))
    assert complaints(verify(tmp_path, job)) == []


@pytest.mark.parametrize("folder", ["two words", "100%", "$HOME", "it's", 'the "real" one', "back\\slash", "演练"])
def test_systemd_accepts_a_program_at_an_odd_path(tmp_path: Path, make_job: Callable[..., Job], folder: str) -> None:
    program = tmp_path / folder / "drillctl"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert complaints(verify(tmp_path, make_job(program=str(program)))) == []


def test_a_mistake_in_them_would_be_noticed(tmp_path: Path, make_job: Callable[..., Job]) -> None:
    assert complaints(verify(tmp_path, make_job(program="/nowhere/drillctl"))) != []


@pytest.mark.parametrize(("missed", "persistent"), [("skip", "false"), ("catch-up", "true")])
def test_a_missed_run_is_made_up_for_only_when_asked(
    make_job: Callable[..., Job], missed: str, persistent: str
) -> None:
    _, timer = units.render(make_job(missed=missed), "/units")
    assert f"Persistent={persistent}\n" in timer.content


def test_jitter_is_a_random_delay_and_none_is_none(make_job: Callable[..., Job]) -> None:
    assert "RandomizedDelaySec=900s\n" in units.render(make_job(jitter=900), "/units")[1].content
    assert "RandomizedDelaySec" not in units.render(make_job(), "/units")[1].content


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/plain/path-1.yaml", "/plain/path-1.yaml"),
        ("two words", '"two words"'),
        ("100%", '"100%%"'),
        ('a "b"', '"a \\"b\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("line\nbreak", '"line\\nbreak"'),
        ("", '""'),
    ],
)
def test_words_are_quoted_as_systemd_reads_them(word: str, written: str) -> None:
    assert units.quoted(word) == written


def test_secrets_are_read_from_a_file_of_their_own_and_named(tmp_path: Path, make_job: Callable[..., Job]) -> None:
    job = make_job(secrets=("OPS_URLS", "DRILLCTL_HISTORY_URL"))
    service = units.render(job, str(tmp_path))[0].content
    assert "EnvironmentFile=-%E/drillctl/drill.env\n" in service
    assert "# Has to hold OPS_URLS, DRILLCTL_HISTORY_URL:" in service
    assert "EnvironmentFile" not in units.render(make_job(), str(tmp_path))[0].content
