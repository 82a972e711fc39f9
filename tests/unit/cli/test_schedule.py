"""`drillctl schedule` from outside: what it prints and refuses, and what it puts in its place when asked."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Ended

SOURCE = ("--source", "git+https://git.invalid/drillctl@4a5b6c")
NIGHTLY = ("schedule", "zone-failover", "-i", "inventory.yaml", "--every", "0 3 * * *")


def test_what_it_prints_is_the_result_and_when_it_runs_is_said_beside_it(
    drillctl: Callable[..., Ended], inventory_file: Path
) -> None:
    ended = drillctl(*NIGHTLY, "--as", "crontab", TZ="Asia/Shanghai")
    assert ended.code == 0
    assert "\n0 3 * * * " in ended.out
    assert f"--inventory {inventory_file} --yes\n" in ended.out
    said = ended.err.splitlines()
    assert said[0] == "Drill zone-failover of shop: at 03:00 every day (this machine's time)"
    assert [line.split(": ")[0].strip() for line in said[1:]] == ["run 1", "run 2", "run 3"]
    assert all(line.endswith(" 03:00:00 CST") for line in said[1:])


def test_thirty_minutes_are_not_taken_for_thirty_seconds(drillctl: Callable[..., Ended], inventory_file: Path) -> None:
    ended = drillctl("schedule", "zone-failover", "-i", "inventory.yaml", "--every", "*/30 * * * *", "--as", "crontab")
    assert "every 30th minute of every hour" in ended.err
    assert "caution: two drills are only 30 minutes apart" in ended.err
    refused = drillctl("schedule", "zone-failover", "-i", "inventory.yaml", "--every", "30s")
    assert refused.code == 2
    assert "`drillctl watch --every 30s` looks at an estate every 30 seconds" in refused.err


@pytest.mark.parametrize("form", ["systemd", "crontab", "github", "gitlab"])
def test_as_json_it_is_one_document(drillctl: Callable[..., Ended], inventory_file: Path, form: str) -> None:
    ended = drillctl(*NIGHTLY, "--as", form, "--json", "--jitter", "15m", *SOURCE)
    document = json.loads(ended.out)
    assert (document["schema_version"], document["as"], document["jitter_seconds"]) == (1, form, 900)
    assert document["on_calendar"] == ["*-*-* 03:00:00"]
    assert len(document["next_runs"]) == 3
    assert len(document["files"]) == (2 if form == "systemd" else 1)
    assert ended.err == ""


@pytest.mark.parametrize("form", ["github", "gitlab"])
def test_a_workflow_is_installed_once_and_taken_away(
    drillctl: Callable[..., Ended], inventory_file: Path, tmp_path: Path, form: str
) -> None:
    words = (*NIGHTLY, "--as", form, "--yes", *SOURCE)
    first = drillctl(*words, "--install")
    assert first.code == 0, first.err
    (file,) = [path for path in tmp_path.rglob("*.yml") if "drill-shop-zone-failover" in path.name]
    assert "+++ " in first.err, "the diff was shown"
    assert drillctl(*words, "--install").out == "drillctl-shop-zone-failover: already in place\n"
    changed = drillctl(
        "schedule",
        "zone-failover",
        "-i",
        "inventory.yaml",
        "--every",
        "0 4 * * *",
        "--as",
        form,
        "--yes",
        "--install",
        *SOURCE,
    )
    assert changed.code == 0
    assert "0 4 * * *" in file.read_text()
    assert drillctl(*NIGHTLY, "--as", form, "--yes", "--uninstall").code == 0
    assert not file.exists()
    assert drillctl(*words, "--uninstall").out == "drillctl-shop-zone-failover: there is nothing to remove\n"


def test_somebody_elses_file_is_left_alone(
    drillctl: Callable[..., Ended], inventory_file: Path, tmp_path: Path
) -> None:
    file = tmp_path / ".github/workflows/drill-shop-zone-failover.yml"
    file.parent.mkdir(parents=True)
    file.write_text("name: mine\n")
    for word in ("--install", "--uninstall"):
        ended = drillctl(*NIGHTLY, "--as", "github", "--yes", word, *SOURCE)
        assert ended.code == 2
        assert "was not made by `drillctl schedule`" in ended.err
    assert file.read_text() == "name: mine\n"


def test_without_a_terminal_and_without_yes_nothing_is_installed(
    drillctl: Callable[..., Ended], inventory_file: Path, tmp_path: Path
) -> None:
    ended = drillctl(*NIGHTLY, "--as", "github", "--install", *SOURCE)
    assert ended.code == 2
    assert "+++ " in ended.err
    assert "there is no terminal to ask on" in ended.err
    assert not (tmp_path / ".github").exists()


def test_a_person_who_says_no_is_obeyed(
    on_terminal: Callable[..., Ended], inventory_file: Path, tmp_path: Path
) -> None:
    ended = on_terminal(*NIGHTLY, "--as", "github", "--install", *SOURCE, prompt="Install this?", keys=b"n\n")
    assert ended.code == 4
    assert not (tmp_path / ".github").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--jitter", "15"), "--jitter 15 is not a time"),
        (("--jitter", "13h"), "--jitter 13h is not a time"),
        (("--install", "--uninstall"), "exclude each other"),
        (("--as", "crontab", "--missed", "catch-up"), "cron does not make up for runs"),
        (("--as", "anacron"), "Invalid value for '--as'"),
    ],
)
def test_what_cannot_be_is_refused(
    drillctl: Callable[..., Ended], inventory_file: Path, words: tuple[str, ...], said: str
) -> None:
    ended = drillctl(*NIGHTLY, *words)
    assert ended.code == 2
    assert said in ended.err
    assert ended.quiet


def test_a_ci_sees_only_its_repository(drillctl: Callable[..., Ended], inventory_file: Path, tmp_path: Path) -> None:
    other = tmp_path.parent / f"{tmp_path.name}-elsewhere.yaml"
    shutil.copy(inventory_file, other)
    ended = drillctl("schedule", "zone-failover", "-i", str(other), "--every", "0 3 * * *", "--as", "gitlab")
    assert ended.code == 2
    assert "is outside this folder" in ended.err


# ---- gates

GATES = """\
gates:
  time_zone: UTC
  windows:
    - {days: [mon, tue], opens: 02:00, closes: 05:00}
"""


def test_runs_that_a_gate_will_refuse_are_said_before_they_are(
    drillctl: Callable[..., Ended], inventory_file: Path
) -> None:
    inventory_file.write_text(inventory_file.read_text() + GATES)
    said = drillctl("schedule", "zone-failover", "-i", "inventory.yaml", "--every", "0 3 * * 1", TZ="UTC").err
    assert "will refuse" not in said
    said = drillctl("schedule", "zone-failover", "-i", "inventory.yaml", "--every", "0 3 * * 3", TZ="UTC").err
    assert said.count(", which the gate `window` will refuse: closed at ") == 3
    words = ("schedule", "zone-failover", "-i", "inventory.yaml", "--every", "0 4 * * 1", "--jitter", "2h")
    assert drillctl(*words, TZ="UTC").err.count("the gate `window` will refuse") == 3, "when it is as late as it may be"


def test_a_production_estate_is_agreed_to_by_its_name(drillctl: Callable[..., Ended], inventory_file: Path) -> None:
    inventory_file.write_text(inventory_file.read_text().replace("staging", "production"))
    for form in ("systemd", "crontab", "github", "gitlab"):
        out = drillctl(*NIGHTLY, "--as", form, *SOURCE).out
        assert " --confirm shop" in out
        assert "--yes" not in out


@pytest.mark.parametrize("form", ["github", "gitlab"])
def test_a_ci_installs_nothing_by_a_name_that_anybody_may_take(
    drillctl: Callable[..., Ended], inventory_file: Path, form: str
) -> None:
    ended = drillctl(*NIGHTLY, "--as", form)
    assert (ended.code, ended.out) == (2, "")
    assert "error: a CI has to be told where drillctl comes from\n" in ended.err
    assert "--source git+URL@COMMIT" in ended.err


@pytest.mark.parametrize("form", ["github", "gitlab"])
@pytest.mark.parametrize(
    ("ssh", "key", "place"),
    [
        ("", ".ssh/id_ed25519", '"$HOME/$KEY_FILE"'),
        ("  key: ~/.ssh/drill\n", ".ssh/drill", '"$HOME/$KEY_FILE"'),
        ("  key: keys/drill\n", "keys/drill", '"$KEY_FILE"'),
        ("  key: /etc/drill/key\n", "/etc/drill/key", '"$KEY_FILE"'),
    ],
)
def test_a_ci_puts_the_key_where_the_inventory_looks_for_it(
    drillctl: Callable[..., Ended], inventory_file: Path, form: str, ssh: str, key: str, place: str
) -> None:
    inventory_file.write_text(inventory_file.read_text() + ssh)
    made = drillctl(*NIGHTLY, "--as", form, *SOURCE).out
    assert f'KEY_FILE: "{key}"' in made or f'KEY_FILE: {{value: "{key}", expand: false}}' in made
    assert made.count(place) >= 3
    assert ("$HOME/$KEY_FILE" in made) == ("$HOME" in place)


@pytest.mark.parametrize("form", ["github", "gitlab"])
def test_host_keys_that_lie_beside_the_inventory_come_with_the_repository(
    drillctl: Callable[..., Ended], inventory_file: Path, form: str
) -> None:
    assert "DRILLCTL_KNOWN_HOSTS" in drillctl(*NIGHTLY, "--as", form, *SOURCE).out
    inventory_file.write_text(inventory_file.read_text() + "  known_hosts: known_hosts\n")
    made = drillctl(*NIGHTLY, "--as", form, *SOURCE).out
    assert "KNOWN_HOSTS" not in made
    assert "the host keys are in the repository" in made


def test_a_ci_has_one_key(drillctl: Callable[..., Ended], inventory_file: Path) -> None:
    text = inventory_file.read_text()
    inventory_file.write_text(text.replace("address: 10.0.1.1\n", "address: 10.0.1.1\n        ssh: {key: ~/.ssh/a}\n"))
    ended = drillctl(*NIGHTLY, "--as", "github", *SOURCE)
    assert ended.code == 2
    assert "the hosts' ssh.key differ (~/.ssh/a, ~/.ssh/id_ed25519), and a CI gets one" in ended.err
    assert drillctl(*NIGHTLY, "--as", "crontab").code == 0
