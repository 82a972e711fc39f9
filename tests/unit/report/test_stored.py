"""A run's folder, read again: what is missing or damaged is told, and a run is found by a beginning of its id."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from drillctl.errors import UsageError
from drillctl.report import stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from told import Told


def runs(tmp_path: Path, *names: str, without_report: str = "") -> Path:
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "journal.jsonl").touch()
        if name != without_report:
            (tmp_path / name / "report.json").touch()
    return tmp_path


def test_a_run_is_found_by_its_id_a_beginning_or_as_the_last(tmp_path: Path) -> None:
    folder = runs(
        tmp_path, "20260101T1-a-0001", "20260102T1-a-0002", "20260103T1-a-0003", without_report="20260103T1-a-0003"
    )
    assert stored.find(None, folder).name == "20260102T1-a-0002"
    assert stored.find("latest", folder).name == stored.find("last", folder).name == "20260102T1-a-0002"
    assert stored.find("20260101", folder).name == "20260101T1-a-0001"
    assert stored.find("20260103T1-a-0003", folder).name == "20260103T1-a-0003"


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("2026", "2 runs begin with `2026`: 20260101T1-a-0001, 20260102T1-a-0002"),
        ("1999", "there is no run `1999`"),
        ("../etc", "there is no run `../etc`"),
    ],
)
def test_what_names_no_single_run_is_told(tmp_path: Path, wanted: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace(".", r"\.")):
        stored.find(wanted, runs(tmp_path, "20260101T1-a-0001", "20260102T1-a-0002"))


def test_without_runs_that_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no run in .* has a report"):
        stored.find(None, tmp_path / "none")


def test_a_run_that_was_killed_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no report") as caught:
        stored.read(tmp_path)
    assert "drillctl recover" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "Invalid JSON"),
        (b"{", "Invalid JSON"),
        (b"[]", "Input should be an object"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"run_id": 5}', "run_id"),
        (b'{"schema_version": 99}', "its schema_version is 99, and this one knows 1"),
    ],
)
def test_a_report_that_cannot_be_read_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(UsageError, match=said):
        stored.read(tmp_path)


def test_damaged_lines_of_the_record_are_counted_and_left_out(tell: Callable[..., Told]) -> None:
    told = tell()
    told.stored()
    file = told.run.folder / "probes.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines[:5], "{}\n", "[]\n", "noise\n", *lines[5:], lines[0][:40]]))
    found = stored.read(told.run.folder)
    assert (len(found.probes), found.probes_lost) == (len(lines), 4)


def test_requests_are_read_in_the_order_in_which_they_were_due(tell: Callable[..., Told]) -> None:
    told = tell()
    told.stored()
    file = told.run.folder / "probes.jsonl"
    file.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
    due = [probe.scheduled for probe in stored.read(told.run.folder).probes]
    assert due == sorted(due)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "WEBP"])
def test_a_thumbnail_is_small(form: str) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (1600, 900), "#3366aa").save(stream, form)
    small = stored._thumbnail(stream.getvalue())
    assert small is not None
    with Image.open(io.BytesIO(small)) as image:
        assert image.size == (96, 54)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"x" * 50])
def test_an_image_that_is_none_has_no_thumbnail(content: bytes) -> None:
    assert stored._thumbnail(content) is None


def test_golden_answers_are_kept_with_the_hash_of_their_image(tell: Callable[..., Told]) -> None:
    told = tell()
    told.run.findings.answers["standby"] = told.run.findings.baseline
    found = told.stored()
    assert [(row.image, row.primary, row.standby, row.restored) for row in found.golden] == [
        ("blue.png", '{"label": "blue"}', '{"label": "blue"}', None),
        ("red.jpg", '{"label": "red"}', '{"label": "red"}', None),
    ]
    assert all(row.sha256 and row.size == len(row.image) for row in found.golden)


def test_values_of_environments_are_not_kept_anywhere_in_an_inventory() -> None:
    document = {
        "environment": "staging",
        "zones": [{"environment": {"TOKEN": "s3cret"}, "hosts": [{"environment": {"A": "s3cret", "B": ""}}]}],
        "service": {"start": {"environment": {"KEY": "s3cret"}}},
    }
    kept = stored.redacted(document)
    assert "s3cret" not in json.dumps(kept)
    assert kept == {
        "environment": "staging",
        "zones": [
            {"environment": {"TOKEN": "redacted"}, "hosts": [{"environment": {"A": "redacted", "B": "redacted"}}]}
        ],
        "service": {"start": {"environment": {"KEY": "redacted"}}},
    }


def test_inventory_and_playbook_as_kept_can_be_read_again(tell: Callable[..., Told], tmp_path: Path) -> None:
    from drillctl import inventory as inventories
    from drillctl import playbook as playbooks

    told = tell()
    told.stored()
    assert inventories.load(told.run.folder / "inventory.yaml") == told.run.inventory
    assert playbooks.load(told.run.folder / "playbook.yaml") == told.run.playbook
