"""`drillctl report` and `verify-bundle` from outside: what goes where, exact words, and exit codes."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Ended

RECORDED = Path(__file__).parents[2] / "cases" / "report" / "recorded"
RUN_ID = json.loads((RECORDED / "report.json").read_text(encoding="utf-8"))["run_id"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The recorded run, in this machine's folder of runs."""
    folder = tmp_path / "state" / "runs" / RUN_ID
    shutil.copytree(RECORDED, folder)
    return folder


@pytest.fixture
def bundle(drillctl: Callable[..., Ended], run: Path, tmp_path: Path) -> Path:
    ended = drillctl("report", "--bundle")
    assert ended.code == 0, ended.err
    return tmp_path / ended.out.strip()


def test_html_goes_into_the_runs_folder_and_is_named(drillctl: Callable[..., Ended], run: Path) -> None:
    ended = drillctl("report")
    assert (ended.code, ended.out, ended.err) == (0, f"{run / 'report.html'}\n", "")
    assert (run / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("wanted", ["latest", "last", RUN_ID, RUN_ID[:13]])
def test_a_run_is_named_by_id_beginning_or_latest(drillctl: Callable[..., Ended], run: Path, wanted: str) -> None:
    assert drillctl("report", wanted, "-f", "json").out == (run / "report.json").read_text(encoding="utf-8")


def test_other_forms_go_to_stdout(drillctl: Callable[..., Ended], run: Path) -> None:
    document = json.loads(drillctl("report", "--format", "json").out)
    assert document["run_id"] == RUN_ID
    assert drillctl("report", "--format", "markdown").out.startswith("## ")
    assert ET.fromstring(drillctl("report", "--format", "junit").out.encode()).tag == "testsuites"
    rows = list(csv.DictReader(io.StringIO(drillctl("report", "--format", "csv").out)))
    assert len(rows) == document["traffic"]["sent"]


def test_output_names_a_file_or_stdout(drillctl: Callable[..., Ended], run: Path, tmp_path: Path) -> None:
    ended = drillctl("report", "-f", "junit", "-o", "junit.xml")
    assert (ended.code, ended.out) == (0, "junit.xml\n")
    assert ET.parse(tmp_path / "junit.xml").getroot().tag == "testsuites"
    assert drillctl("report", "-o", "-").out.startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("no-such-run",), 2, "there is no run `no-such-run`"),
        (("--output", "none/report.html"), 2, "none/report.html cannot be written: No such file or directory"),
        (("--sign-key", "key"), 2, "--sign-key signs a bundle"),
        (("--open", "-f", "csv"), 2, "--open opens the HTML report"),
        (("--bundle", "--sign-key", "none"), 2, "there is no key none"),
        (("-f", "pdf"), 2, "'pdf' is not one of"),
    ],
)
def test_what_cannot_be_done_is_told(
    drillctl: Callable[..., Ended], run: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    ended = drillctl("report", *words)
    assert ended.code == code
    assert said in ended.err.replace("\n", " ")
    assert ended.out == ""
    assert ended.quiet


def test_open_hands_the_page_to_the_browser_of_the_environment(
    drillctl: Callable[..., Ended], run: Path, tmp_path: Path
) -> None:
    script = tmp_path / "browse"
    script.write_text('#!/bin/sh\necho "$1" >"$0.asked"\n')
    script.chmod(0o755)
    assert drillctl("report", "--open", BROWSER=str(script)).code == 0
    assert (tmp_path / "browse.asked").read_text() == f"{(run / 'report.html').as_uri()}\n"


def test_without_a_browser_the_page_is_still_made_and_that_is_told(drillctl: Callable[..., Ended], run: Path) -> None:
    ended = drillctl("report", "--open", BROWSER="/nonexistent/browser %s", PATH="/nonexistent")
    assert (ended.code, ended.out) == (0, f"{run / 'report.html'}\n")
    assert ended.err == "No browser could be opened here; open that file in one.\n"


def test_a_reader_that_goes_away_is_no_error(run: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} -m drillctl report -f csv | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "DRILLCTL_HOME": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("seq,lane,image")
    assert (done.returncode, done.stderr) in {(0, ""), (141, "")}  # the pipe may have taken all of it before


def test_without_a_run_that_is_told(drillctl: Callable[..., Ended]) -> None:
    ended = drillctl("report")
    assert (ended.code, ended.quiet) == (2, True)
    assert "has a report" in ended.err


def test_a_bundle_that_nobody_signed_is_whole_and_nobody_vouches(drillctl: Callable[..., Ended], bundle: Path) -> None:
    ended = drillctl("verify-bundle", str(bundle))
    assert ended.code == 3
    assert ended.out.splitlines()[-1] == (
        "NOBODY VOUCHES: it is whole, but anybody could have made it: it carries no signature"
    )


def test_a_signed_bundle_is_verified_by_who_signed(drillctl: Callable[..., Ended], run: Path, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", tmp_path / "key"], check=True)
    (tmp_path / "signers").write_text(f"ops@example.org {(tmp_path / 'key.pub').read_text()}")
    assert drillctl("report", "--bundle", "--sign-key", "key", "-o", "e.tar").out == "e.tar\n"
    asked = ("verify-bundle", "e.tar", "--allowed-signers", "signers", "--identity")
    ended = drillctl(*asked, "ops@example.org")
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "VERIFIED: whole, and ops@example.org vouches for it.")
    ended = drillctl(*asked, "eve@example.org")
    assert ended.code == 1
    assert ended.out.splitlines()[-1].startswith("NOT VOUCHED FOR: whole, but eve@example.org did not sign it")
    ended = drillctl("verify-bundle", "e.tar")
    assert ended.code == 3
    assert "whose key that is was not checked" in ended.out


def test_a_changed_bundle_is_told_with_what_changed(drillctl: Callable[..., Ended], bundle: Path) -> None:
    content = bundle.read_bytes()
    place = content.index(b"<!doctype html>") + 5000
    bundle.write_bytes(content[:place] + b"#" + content[place + 1 :])
    ended = drillctl("verify-bundle", str(bundle))
    assert ended.code == 1
    assert "✗ report.html was changed: its sha256 is not the manifest's" in ended.out
    assert "CHANGED" in ended.out.splitlines()[-1]


def test_an_archive_that_leads_elsewhere_is_refused(drillctl: Callable[..., Ended], tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        info = tarfile.TarInfo("../../outside")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    ended = drillctl("verify-bundle", "evil.tar")
    assert ended.code == 1
    assert "may lead out of its folder" in ended.out
    assert not (tmp_path.parent / "outside").exists()
    assert ended.quiet


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("none.tar",), "none.tar cannot be read: No such file or directory"),
        ((".",), ". cannot be read: Is a directory"),
        (("none.tar", "--identity", "me"), "--allowed-signers and --identity belong together"),
    ],
)
def test_wrong_words_are_told(drillctl: Callable[..., Ended], words: tuple[str, ...], said: str) -> None:
    ended = drillctl("verify-bundle", *words)
    assert (ended.code, ended.quiet) == (2, True)
    assert said in ended.err
