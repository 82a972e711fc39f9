"""`drillctl history` from outside: what a person and another program get, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from drillctl.cli import history as cli_history
from drillctl.history.sample import Sample
from drillctl.history.store import History

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Ended

NOW = datetime.now(UTC).replace(microsecond=0)
TOLD = [("passed", 0.2), ("failed", 0.9), ("passed", 0.3), ("aborted", None), ("passed", 0.25), ("not-started", None)]


def report(number: int, verdict: str, outage: float | None) -> dict[str, Any]:
    began = NOW - timedelta(days=len(TOLD) - number)
    return {
        "run_id": f"{began:%Y%m%dT%H%M%SZ}-zone-failover-{number:04x}",
        "inventory": "shop",
        "environment": "staging",
        "playbook": "zone-failover",
        "verdict": verdict,
        "exit_code": 0,
        "started_at": began.isoformat(),
        "finished_at": (began + timedelta(seconds=20)).isoformat(),
        "recovery": {"rto_seconds": 0.5, "outage_seconds": outage, "lost_requests": 11 if outage else None},
        "restore": {"verdict": "nothing to restore" if verdict == "not-started" else "complete"},
    }


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """The history that `drillctl` finds in the test's folder, with six runs and some samples."""
    file = tmp_path / "state" / "history.db"
    with History.open(f"sqlite:///{file}") as history:
        for number, (verdict, outage) in enumerate(TOLD):
            history.add_run(report(number, verdict, outage))
        history.add_samples(
            [
                Sample(NOW - timedelta(hours=number), "shop", "a-1", "primary", "healthy", ready=True)
                for number in range(5)
            ]
        )
    return file


def test_the_list_has_every_run_the_newest_first(filled: Path, drillctl: Callable[..., Ended]) -> None:
    ended = drillctl("history")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].split() == ["run", "inventory", "verdict", "outage", "lost"]
    assert [line.split()[2] for line in lines[1:]] == [verdict for verdict, _ in reversed(TOLD)]
    assert lines[2].split()[2:] == ["passed", "0.25", "s", "11"]
    assert lines[3].split()[2:] == ["aborted"]


def test_the_list_fits_80_columns_and_needs_no_colour(filled: Path, on_terminal: Callable[..., Ended]) -> None:
    ended = on_terminal("history", COLUMNS="80", NO_COLOR="1")
    assert ended.code == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", ended.out)
    assert not re.search(r"\x1b\[[0-9;]*(3|4|9|10)[0-7]m", ended.out)
    lines = plain.splitlines()
    assert len(lines) == 7
    assert max(map(len, lines)) <= 80
    assert "…" not in plain


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["--limit", "2"], 2),
        (["--verdict", "failed"], 1),
        (["--since", "3d"], 2),
        (["--until", "3d"], 3),
        (["--playbook", "zone-failover"], 6),
        (["--playbook", "another"], 0),
        (["--lab"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_filters(filled: Path, drillctl: Callable[..., Ended], words: list[str], count: int) -> None:
    document = json.loads(drillctl("history", *words, "--json").out)
    assert document["schema_version"] == 1
    # A run three days ago to the second may be on either side.
    assert len(document["runs"]) - count in ({0, 1} if "3d" in words else {0})


def test_an_inventory_names_the_runs_that_are_wanted(
    filled: Path, inventory_file: Path, drillctl: Callable[..., Ended]
) -> None:
    assert len(json.loads(drillctl("history", "-i", "inventory.yaml", "--json").out)["runs"]) == 6
    inventory_file.write_text(inventory_file.read_text().replace("name: shop", "name: mall"))
    ended = drillctl("history", "-i", "inventory.yaml")
    assert (ended.code, ended.out) == (0, f"No run in {filled} is like that.\n")


def test_an_empty_history_tells_what_to_do(drillctl: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "state/runs/one").mkdir(parents=True)
    ended = drillctl("history")
    assert ended.code == 0
    assert "No runs yet in " in ended.out
    assert "`drillctl history import` takes in the 1 of the runs folder" in ended.out


def test_a_run_is_shown_by_its_id_the_beginning_of_one_or_last(filled: Path, drillctl: Callable[..., Ended]) -> None:
    run = report(0, *TOLD[0])["run_id"]
    for name in (run, run[:9]):
        assert json.loads(drillctl("history", "show", name, "--json").out)["run_id"] == run
    assert json.loads(drillctl("history", "show", "last", "--json").out)["verdict"] == "not-started"
    ended = drillctl("history", "show", "2")
    assert (ended.code, ended.out) == (2, "")
    assert "several runs begin with 2" in ended.err
    ended = drillctl("history", "show", "x%")
    assert (ended.code, "there is no run x%" in ended.err) == (2, True)


def test_a_trend_is_drawn_with_what_was_left_out(filled: Path, drillctl: Callable[..., Ended], tmp_path: Path) -> None:
    ended = drillctl("history", "trend", "--html", "trend.html")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("recovery_time of zone-failover on shop: the outage as clients saw it\n")
    chart = ended.out[: ended.out.index("● in the figures")]
    assert (chart.count("●"), chart.count("✗"), chart.count("○")) == (3, 1, 2)
    assert "p50 0.25 s, p90 0.29 s, min 0.20 s, max 0.30 s over 3 comparable runs" in ended.out
    assert "left out of these figures: 1 aborted, 1 failed, 1 not-started" in ended.out
    assert "<svg" in (tmp_path / "trend.html").read_text()
    document = json.loads(drillctl("history", "trend", "--json", "--metric", "lost_requests", "--last", "3").out)
    assert [run["value"] for run in document["runs"]] == [None, 11, None]


def test_a_trend_fits_80_columns_and_a_plain_terminal(filled: Path, on_terminal: Callable[..., Ended]) -> None:
    ended = on_terminal("history", "trend", COLUMNS="80", NO_COLOR="1", PYTHONIOENCODING="latin-1", PYTHONUTF8="0")
    assert ended.code == 0
    assert ended.out.isascii()
    assert not re.search(r"\x1b\[[0-9;]*(3|4|9|10)[0-7]m", ended.out)
    chart = ended.out.splitlines()[1:15]
    assert max(map(len, chart)) <= 80
    assert sum(line.count("x") for line in chart) == 1


def test_export_is_the_oldest_first(filled: Path, drillctl: Callable[..., Ended]) -> None:
    rows = list(csv.DictReader(io.StringIO(drillctl("history", "export").out)))
    assert [row["verdict"] for row in rows] == [verdict for verdict, _ in TOLD]
    document = json.loads(drillctl("history", "export", "--samples", "--format", "json", "--since", "10h").out)
    assert len(document["samples"]) == 5
    assert document["samples"][0]["host"] == "a-1"


def test_prune_deletes_samples_and_asks_before_it_deletes_runs(
    filled: Path, drillctl: Callable[..., Ended], on_terminal: Callable[..., Ended]
) -> None:
    ended = drillctl("history", "prune", "--keep", "3h")
    assert (ended.code, ended.out) == (0, f"deleted from {filled}: 2 samples, 0 runs\n")
    ended = drillctl("history", "prune", "--keep-runs", "60h")
    assert ended.code == 2
    assert "4 runs would be deleted, and there is no terminal to ask on" in ended.err
    ended = on_terminal("history", "prune", "--keep-runs", "60h", prompt="[y/N]", keys=b"n\n")
    assert ended.code == 4
    assert "nothing was deleted" in ended.out
    with History.open(f"sqlite:///{filled}") as history:
        assert len(history.runs()) == 6
    assert json.loads(drillctl("history", "prune", "--keep-runs", "60h", "--yes", "--json").out)["runs"] == 4


def test_import_takes_in_what_is_on_disk_and_tells_what_is_no_run(
    tmp_path: Path, drillctl: Callable[..., Ended]
) -> None:
    runs = tmp_path / "state" / "runs"
    for number in range(2):
        document = report(number, *TOLD[number])
        (runs / document["run_id"]).mkdir(parents=True)
        (runs / document["run_id"] / "report.json").write_text(json.dumps(document))
    ended = drillctl("history", "import")
    assert ended.code == 0
    assert ended.out.endswith(f"2 stored in {tmp_path}/state/history.db, 0 already there\n")
    (runs / "notes").mkdir()
    ended = drillctl("history", "import")
    assert ended.code == 4
    assert "notes  not a run: it has neither report nor journal" in ended.out
    assert ended.out.endswith("0 stored in " + f"{tmp_path}/state/history.db, 2 already there\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["history", "--verdict", "lost"], "--verdict 'lost' is not known"),
        (["history", "--since", "soon"], "--since 'soon' is no time"),
        (["history", "--lab", "trend"], "--lab stands before `trend`, which does not see it"),
        (["history", "trend", "--metric", "speed"], "--metric 'speed' is not known"),
        (["history", "trend", "--html", "no/where.html"], "no/where.html cannot be written"),
        (["history", "prune"], "nothing says what to keep"),
        (["history", "export", "--samples", "--playbook", "x"], "--playbook says nothing of samples"),
        (["history", "import", "nowhere"], "there is no run nowhere"),
        (["run", "zone-failover", "--lab", "--fail-if", "recovery_time > p50(lst 10)"], "cannot be read at column 21"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_words_are_refused(filled: Path, drillctl: Callable[..., Ended], words: list[str], said: str) -> None:
    ended = drillctl(*words)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert ended.quiet


def test_a_broken_history_is_told_without_a_traceback(drillctl: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "history.db").write_bytes(b"no database" * 500)
    for words in (["history"], ["history", "trend"], ["history", "import"], ["history", "export"]):
        ended = drillctl(*words)
        assert (ended.code, ended.out, ended.quiet) == (4, "", True)
        assert "the file is no SQLite database, or it is damaged" in ended.err
        assert "next:  move it away" in ended.err


def test_a_password_in_the_url_is_never_on_the_screen(drillctl: Callable[..., Ended]) -> None:
    ended = drillctl("history", "--debug", DRILLCTL_HISTORY_URL="postgresql://me:s3cr3t@127.0.0.1:1/history")
    assert ended.code in {2, 4}
    ended = drillctl("--debug", "history", DRILLCTL_HISTORY_URL="postgresql://me:s3cr3t@127.0.0.1:1/history")
    assert ended.code == 4
    assert "postgresql://me:***@127.0.0.1:1/history cannot be used" in ended.err
    assert "s3cr3t" not in ended.out + ended.err


def test_a_drill_that_did_not_start_is_in_the_history_too(
    drillctl: Callable[..., Ended], inventory_file: Path, playbook_file: Path
) -> None:
    text = inventory_file.read_text().replace("10.0.", "127.0.")
    (inventory_file.parent / "known_hosts").touch()
    inventory_file.write_text(text + "  port: 1\n  known_hosts: known_hosts\n  connect_timeout_seconds: 1\n")
    assert drillctl("run", "playbook.yaml", "-i", "inventory.yaml", "--yes").code == 4
    (run,) = json.loads(drillctl("history", "--json").out)["runs"]
    assert (run["verdict"], run["inventory"], run["changed"]) == ("not-started", "shop", False)
    shown = drillctl("history", "show", "last")
    assert "NOT-STARTED" in shown.out


def test_a_history_that_fails_leaves_report_and_exit_code_alone(
    drillctl: Callable[..., Ended], inventory_file: Path, playbook_file: Path, tmp_path: Path
) -> None:
    text = inventory_file.read_text().replace("10.0.", "127.0.")
    (inventory_file.parent / "known_hosts").touch()
    inventory_file.write_text(text + "  port: 1\n  known_hosts: known_hosts\n  connect_timeout_seconds: 1\n")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "history.db").write_bytes(b"no database" * 500)
    ended = drillctl("run", "playbook.yaml", "-i", "inventory.yaml", "--yes", "--json")
    assert ended.code == 4
    run_id = json.loads(ended.out)["run_id"]
    assert "this run is not in the history" in ended.err
    assert f"drillctl history import {run_id}" in ended.err
    (tmp_path / "state" / "history.db").unlink()
    assert drillctl("history", "import", run_id).code == 0
    assert json.loads(drillctl("history", "--json").out)["runs"][0]["run_id"] == run_id


def test_a_trend_of_no_run_is_a_document_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DRILLCTL_HISTORY_URL", f"sqlite:///{tmp_path}/history.db")
    cli_history.trend(metric="recovery_time", last=50, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"schema_version": 1, "runs": []}
