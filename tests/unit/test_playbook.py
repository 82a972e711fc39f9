"""Playbooks: those that ship are valid, and a drill that contradicts itself is refused with the place."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drillctl import playbook as playbooks
from drillctl.errors import FileError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from drillctl.playbook import Playbook

STEPS = "  - step: fault\n  - step: detect\n  - step: switch\n  - step: verify\n"
RESTORE = "  - step: heal\n  - step: failback\n"
STEP_KINDS = "Allowed: action, detect, fallback, fault, observe, probe, start, switch, verify"
FAULT_KINDS = (
    "Allowed: broken-dependency, command, crash-loop, disk-full, gateway-restart, gpu-lost, hang, kill, loss, model, "
    "partition, reboot, reject, slow, stop"
)

MISTAKES = [
    # unknown keys, wrong types, missing
    (
        "  images: images",
        "  imagse: images",
        ["8:3: unknown key `imagse`; did you mean `images`? Allowed here: baseline_seconds, images, "
        "observation_seconds, rate, slow_seconds, timeout_seconds"],
    ),
    (
        "- step: detect\n",
        "- step: detect\n    failure: 3\n",
        ["13:5: unknown key `failure`; did you mean `failures`? Allowed here: expect, "
        "failures, name, rate, signals, slow_seconds, step, within_seconds"],
    ),
    ("- step: detect\n", "- detect\n", ["12:5: `steps.1` must be keys with values"]),
    ("- step: detect\n", "- step: [detect]\n", ["12:5: `steps.1.step` must be a word"]),
    ("- step: fault\n", "- step: falt\n", [f"11:5: `steps.0.step` is not 'falt'; did you mean `fault`? {STEP_KINDS}"]),
    ("- step: verify\n", "- step: failback\n",
     [f"14:5: `steps.3.step` is not 'failback'; did you mean `fallback`? {STEP_KINDS}"]),
    ("- step: fault\n", "- fault: kill\n", ["11:5: `steps.0.step` is missing"]),
    ("- step: fault\n", "- step: fault\n    fault: burn\n", [f"12:5: `steps.0.fault` is not 'burn'. {FAULT_KINDS}"]),
    ("- step: detect\n", "- step: detect\n    failures: 0\n",
     ["13:5: `steps.1.failures` must be greater than or equal to 1, not 0"]),
    (STEPS, "", ["10:1: `steps` must be a list"]),
    ("steps:\n" + STEPS, "steps: []\n", ["10:1: `steps` needs at least 1 entry"]),
    ("steps:\n" + STEPS, "", ["1:1: `steps` is missing"]),
    ("rate: 10", "rate: fast", ["7:3: `traffic.rate` must be a valid number, not 'fast'"]),
    ("rate: 10", 'rate: "10"', ["7:3: `traffic.rate` must be a valid number, not '10'"]),
    ("rate: 10", "rate: true", ["7:3: `traffic.rate` must be a valid number, not True"]),
    ("rate: 10", "rate: 0", ["7:3: `traffic.rate` must be greater than 0, not 0"]),
    ("rate: 10", "rate: .nan", ["7:3: `traffic.rate` must be less than or equal to 1000, not nan"]),
    ("rto_seconds: 5", "rto_seconds: .inf", ["4:3: `objectives.rto_seconds` must be a finite number, not inf"]),
    ("lost_requests: 20", "lost_requests: 2.5", ["5:3: `objectives.lost_requests` must be a valid integer, not 2.5"]),
    (
        "rto_seconds: 5",
        "outputs: same",
        ["4:3: `objectives.outputs` must be `exact`, or `{score_abs: NUMBER}`, not 'same'"],
    ),
    ("rto_seconds: 5", "outputs: {score_abs: 2}", ["4:13: `objectives.outputs.score_abs` must be less than 1, not 2"]),
    (
        "rto_seconds: 5",
        "outputs: {score: 0.1}",
        [
            "4:3: `objectives.outputs.score_abs` is missing",
            "4:13: unknown key `score`; did you mean `score_abs`? Allowed here: score_abs",
        ],
    ),
    (
        "traffic:\n",
        "steady_state: [health, luck]\ntraffic:\n",
        ["6:24: `steady_state.1` must be 'health', 'role', 'model', 'environment', 'isolation', 'gateway', "
        "'equality' or 'capacity', not 'luck'"],
    ),
    ("traffic:\n", "steady_state: []\ntraffic:\n", ["6:1: `steady_state` needs at least 1 entry"]),
    # what a guard could not keep
    ("- step: fault\n", '- step: fault\n    fault: command\n    inject: [a]\n    prove: [b]\n    undo: ["a\\nb"]\n',
     ["15:5: `steps.0.undo` must be of one line, as its host's guard keeps it; put a script on the host "
      "and name that"]),
    ("- step: detect\n", '- step: action\n    command: {host: a-1, run: [a]}\n    undo: ["a\\n"]\n',
     ["14:5: `steps.1.undo` must be of one line, as its host's guard keeps it; put a script on the host "
      "and name that"]),
    # contradictions
    (STEPS + "restore:\n" + RESTORE, '  - step: action\n    command: {host: a-1, run: [a]}\n    undo: [b]\nrestore:\n'
     "  - step: observe\n", ["11:5: only `heal` carries out the `undo` of an `action`; `restore` has none"]),
    ("traffic:\n", "stop: {outage_seconds: 0.2}\ntraffic:\n",
     ["6:8: at 10 requests a second, 0.2 s without an answer are no outage"]),
    ("traffic:\n", "stop: {time_box: 60}\ntraffic:\n",
     ["6:8: unknown key `time_box`; did you mean `time_box_seconds`? Allowed here: error_rate, failed_requests, "
      "outage_seconds, p99_seconds, standby_failures, time_box_seconds, window_seconds"]),
    ("traffic:\n", "capacity: {way: ssh}\ntraffic:\n",
     ["6:12: `capacity.way` must be 'auto', 'direct' or 'gateway', not 'ssh'"]),
    (RESTORE, "  - step: failback\n  - step: heal\n",
     ["16:5: `failback` before `heal` would send clients to a zone that is down"]),
    ("  - step: failback\n", "", ["15:1: the steps switch the gateway, but `restore` has no `failback`"]),
    ("  - step: heal\n", "", ["15:1: the steps make a fault, but `restore` has no `heal`"]),
    ("  - step: fault\n", "", ["11:5: `detect` needs a `fault` before it"]),
    (
        "  - step: fault\n  - step: detect\n",
        "  - step: detect\n  - step: fault\n",
        ["11:5: `detect` needs a `fault` before it"],
    ),
    ("  - step: fault\n", "  - step: fault\n  - step: fault\n",
     ["12:5: the primary is struck twice without a `start` between"]),
    ("  - step: detect\n", "  - step: detect\n  - step: detect\n", ["13:5: `detect` comes twice; a drill has one"]),
    ("  - step: switch\n", "  - step: switch\n  - step: switch\n", ["14:5: `switch` comes twice; a drill has one"]),
    (
        STEPS,
        "  - step: switch\n  - step: fault\n  - step: detect\n",
        ["11:5: `switch` before `fault`: then the fault hits nobody's zone"],
    ),
    ("- step: fault\n", "- step: fault\n    zone: {}\n",
     ["12:5: `steps.0.zone` must be 'primary', 'standby' or 'both'"]),
    (
        "- step: fault\n",
        "- step: fault\n    zone: standby\n",
        ["12:5: the fault is aimed at the standby; if that is meant, "
         "say `expects: {also_strikes: standby}`"],
    ),
    (
        "- step: switch\n",
        "- step: switch\n    to: primary\n",
        ["14:5: the drill switches to the standby; `failback` is the way back"],
    ),
]  # fmt: skip


def problems_of(file: Path) -> list[str]:
    with pytest.raises(FileError) as caught:
        playbooks.load(file)
    return [problem.removeprefix(f"{file}:") for problem in caught.value.problems]


@pytest.mark.parametrize(("old", "new", "problems"), MISTAKES, ids=lambda v: repr(v)[:40] if isinstance(v, str) else "")
def test_a_mistake_is_told_with_its_place_and_what_is_allowed(
    playbook_file: Path, old: str, new: str, problems: list[str]
) -> None:
    text = playbook_file.read_text()
    assert old in text
    playbook_file.write_text(text.replace(old, new, 1))
    assert problems_of(playbook_file) == problems


def test_every_contradiction_is_told_at_once(playbook_file: Path) -> None:
    text = playbook_file.read_text().replace(RESTORE, "  - step: failback\n  - step: heal\n")
    playbook_file.write_text(text.replace("- step: fault\n", "- step: fault\n    zone: standby\n"))
    assert [problem.split(":")[0] for problem in problems_of(playbook_file)] == ["17", "12"]


@pytest.mark.parametrize("folder", ["nowhere", "empty", "/nowhere/at/all", "playbook.yaml"])
def test_a_folder_without_images_is_refused(playbook_file: Path, folder: str) -> None:
    empty = playbook_file.parent / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("no image")
    (empty / "album.jpg").mkdir()
    playbook_file.write_text(playbook_file.read_text().replace("images: images", f"images: {folder}"))
    where = playbook_file.parent / folder
    assert problems_of(playbook_file) == [f"8:3: no images in {where} (allowed: .bmp, .gif, .jpeg, .jpg, .png, .webp)"]


def test_images_are_found_beside_the_file_wherever_drillctl_is_started(
    playbook_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path.parent)
    book = playbooks.load(playbook_file.relative_to(tmp_path.parent))
    assert [path.name for path in playbooks.images(book)] == ["blue.png", "red.jpg"]
    monkeypatch.chdir("/")
    assert all(path.is_file() for path in playbooks.images(book))


def test_checks_of_the_steady_state_run_in_their_order_and_once(playbook_file: Path) -> None:
    text = playbook_file.read_text().replace("traffic:\n", "steady_state: [equality, health, health]\ntraffic:\n")
    playbook_file.write_text(text)
    assert playbooks.load(playbook_file).steady_state == ("health", "equality")


def test_the_runbook_decides_where_a_playbook_says_nothing(playbook: Playbook) -> None:
    assert playbook.steady_state == playbooks.CHECKS
    assert playbooks.Objectives().rto_seconds == 300
    assert playbook.objectives.outputs == "exact"
    assert playbook.objectives.restore_failed_requests == 0


@pytest.mark.parametrize("name", list(playbooks.builtin()))
def test_every_playbook_that_ships_is_valid_and_goes_by_its_file_name(name: str) -> None:
    book = playbooks.load(playbooks.find(name))
    assert book.name == name
    assert len(playbooks.images(book)) >= 32


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "images: images",
            "images: ~nosuchuser/x",
            "8:3: `traffic.images` must be a path of this machine; whose home ",
        ),
        ("images: images", f"images: {'x' * 300}", "8:3: the images' folder cannot be looked into: "),
        ("rate: 10", "timeout_seconds: 400", "7:3: `traffic.timeout_seconds` must be less than or equal to 300"),
    ],
)
def test_traffic_that_cannot_be_sent_is_told_with_its_place(playbook_file: Path, old: str, new: str, said: str) -> None:
    playbook_file.write_text(playbook_file.read_text().replace(old, new))
    (problem,) = problems_of(playbook_file)
    assert problem.startswith(said)


def test_the_documented_drill_ships() -> None:
    assert "zone-failover" in playbooks.builtin()


@pytest.mark.parametrize("given", ["zone-failovr", "", "..", "zone-failover.yaml", "no/where", "ZONE-FAILOVER"])
def test_an_unknown_playbook_is_refused_with_those_there_are(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"there is no (built-in playbook|playbook file)") as caught:
        playbooks.find(given)
    assert "zone-failover" in (caught.value.hint or "")


def test_a_path_that_cannot_even_be_looked_at_is_refused_with_the_reason() -> None:
    with pytest.raises(UsageError, match="cannot be reached: File name too long"):
        playbooks.find(f"{'x' * 300}.yaml")


SCRAPS = st.sampled_from(
    ["", " ", "- ", ": ", "[", "]", "{", "}", "&a ", "*a", "!!int ", "'", '"', "#", "|", "\t", "\n", "---\n", "? ", "~",
     "1e999", ".nan", "-1", "primary", "kill", "exact", "verify", "\u3000"]
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32), st.lists(SCRAPS, min_size=1, max_size=6))
def test_a_mangled_playbook_gives_a_model_or_a_clear_error(
    playbook_file: Path, playbook_text: str, seed: int, scraps: list[str]
) -> None:
    chance = random.Random(seed)
    text = playbook_text
    for scrap in scraps:
        begin = chance.randrange(len(text))
        text = text[:begin] + scrap + text[begin + chance.choice((0, 0, 1, 3, 40)) :]
    playbook_file.write_text(text, encoding="utf-8")
    try:
        found = playbooks.load(playbook_file)
    except FileError as error:
        problems = error.problems
    else:
        assert found.steps
        return
    assert problems
    for problem in problems:
        assert re.match(re.escape(str(playbook_file)) + r":\d+:\d+: \S", problem), problem
