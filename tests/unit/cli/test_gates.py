"""Gates from outside: what is refused, with which words and exit code, and that no host was spoken to."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from drillctl.cli import run as runs
from drillctl.cli.consent import Consent
from drillctl.cli.switch import switch
from drillctl.errors import Aborted, UsageError
from drillctl.gates import Gate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Ended

DRILL = ("run", "playbook.yaml", "-i", "inventory.yaml")
EVER = "  blackouts:\n  - {first_day: 2020-01-01, last_day: 2999-12-31, reason: decommissioned}\n"
FREEZE = f"gates:\n  time_zone: Europe/Berlin\n{EVER}"
EMERGENCY = ("--override-gate", "blackout", "--reason", "the hall is on fire")


@pytest.fixture
def unreachable(inventory_file: Path, playbook_file: Path) -> None:
    """Put every host at a loopback port that refuses: a drill that gets so far is told by its words."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    (inventory_file.parent / "known_hosts").touch()
    text = inventory_file.read_text().replace("10.0.", "127.0.")
    text += f"  port: {port}\n  known_hosts: known_hosts\n  connect_timeout_seconds: 1\n"
    inventory_file.write_text(text)


pytestmark = pytest.mark.usefixtures("unreachable")


def change(inventory_file: Path, *, production: bool = False, gates: str = "") -> None:
    text = inventory_file.read_text() + gates
    inventory_file.write_text(text.replace("environment: staging", "environment: production") if production else text)


def untouched(folder: Path) -> bool:
    return not (folder / "state").exists()


def tail(text: str) -> str:
    """Return what stands below the plan."""
    return text[text.index("changes, each with its undo") :].split("\n", 1)[1].lstrip("\n")


def spoke_to_hosts(ended: Ended) -> bool:
    return "cannot be reached by SSH" in ended.out + ended.err


# ---- production


def test_yes_alone_does_not_do_for_production(
    drillctl: Callable[..., Ended], inventory_file: Path, tmp_path: Path
) -> None:
    change(inventory_file, production=True)
    ended = drillctl(*DRILL, "--yes")
    assert ended.code == 2
    assert tail(ended.err) == (
        "error: this estate is production, and there is no terminal to type its name on; --yes is not enough\n"
        "state: nothing was changed\n"
        "next:  say --confirm shop if that is the estate to drill\n"
    )
    assert untouched(tmp_path)


def test_without_a_terminal_and_a_flag_production_is_refused(
    drillctl: Callable[..., Ended], inventory_file: Path, tmp_path: Path
) -> None:
    change(inventory_file, production=True)
    ended = drillctl(*DRILL)
    assert ended.code == 2
    assert "no terminal to type its name on\n" in ended.err
    assert untouched(tmp_path)


@pytest.mark.parametrize("name", ["Shop", "shop ", "", "sho", "yes"])
@pytest.mark.parametrize("production", [True, False])
def test_confirm_takes_the_exact_name_only(
    drillctl: Callable[..., Ended], inventory_file: Path, tmp_path: Path, name: str, production: bool
) -> None:
    change(inventory_file, production=production)
    ended = drillctl(*DRILL, "--yes", "--confirm", name)
    assert ended.code == 2
    assert tail(ended.err) == (
        f"error: --confirm says `{name}`, but this estate is `shop`\n"
        "state: nothing was changed\n"
        "next:  look at the plan: is it the estate that you mean?\n"
    )
    assert untouched(tmp_path)


def test_the_name_given_with_confirm_lets_production_through(
    drillctl: Callable[..., Ended], inventory_file: Path
) -> None:
    change(inventory_file, production=True)
    ended = drillctl(*DRILL, "--confirm", "shop", "--json")
    assert ended.code == 4
    report = json.loads(ended.out)
    assert report["gates"][0] == {
        "name": "agreement",
        "rule": "the name of a production estate, typed or with --confirm",
        "found": "--confirm shop",
        "passed": True,
        "overridden": None,
    }
    assert spoke_to_hosts(ended)


def test_on_a_terminal_production_is_drilled_when_its_name_is_typed(
    on_terminal: Callable[..., Ended], inventory_file: Path
) -> None:
    change(inventory_file, production=True)
    prompt = "shop is PRODUCTION. Type its name to go on:"
    ended = on_terminal(*DRILL, "--yes", prompt=prompt, keys=b"shop\n", NO_COLOR="1")
    assert prompt in ended.out
    assert ended.code == 4
    assert "the name was typed" in ended.out
    assert spoke_to_hosts(ended)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (b"y\n", "you typed `y`, not `shop`"),
        (b"yes\n", "you typed `yes`, not `shop`"),
        (b"shop \n", "you typed `shop `, not `shop`"),
        (b"\n", "you did not type its name"),
        (b"\x04", "you did not type its name"),
        (b"\x03", "you did not type its name"),
    ],
)
def test_anything_else_that_is_typed_is_a_no(
    on_terminal: Callable[..., Ended], inventory_file: Path, tmp_path: Path, keys: bytes, said: str
) -> None:
    change(inventory_file, production=True)
    ended = on_terminal(*DRILL, "--yes", prompt="Type its name", keys=keys, NO_COLOR="1")
    assert ended.code == 4
    assert f"{said}\nstate: nothing was changed\n" in ended.out
    assert untouched(tmp_path)


# ---- the calendar


def test_a_blackout_refuses_even_who_says_yes(
    drillctl: Callable[..., Ended], inventory_file: Path, tmp_path: Path
) -> None:
    change(inventory_file, gates=FREEZE)
    ended = drillctl(*DRILL, "--yes")
    assert ended.code == 4
    found = "2020-01-01 to 2999-12-31: decommissioned"
    opens = "never opens for 15 min within the next 800 days"
    assert tail(ended.err).startswith(f"Gate blackout CLOSED: {found}; {opens}\n")
    progress = " ".join(ended.err.split())
    assert f"blackout REFUSED {found}; {opens}" in progress
    assert "agreement skipped not asked, since another gate is closed" in progress
    assert not spoke_to_hosts(ended)
    assert ended.out.splitlines()[-5:-2] == [
        f"blackout: {found}",
        "NOT-STARTED a gate refused; nothing was changed (exit code 4, 0 s)",
        f"next:  blackout {opens}; for a real emergency: --override-gate blackout --reason TEXT",
    ]


def test_the_calendar_is_looked_at_again_once_a_person_has_agreed(
    inventory_file: Path, playbook_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window closes while the question is on the screen."""
    opened = Gate("window", "r", "open", passed=True)
    closed = replace(opened, found="closed", passed=False)
    agreed = Gate("agreement", "r", "answered with yes", passed=True)
    clock = [opened]
    drilled: list[tuple[Gate, ...]] = []

    def ask(*_: object) -> Gate:
        clock[0] = closed
        return agreed

    def drill(*words: Any) -> None:
        drilled.append(words[3])
        raise Aborted("this is far enough")

    monkeypatch.setattr(runs, "calendar_gates", lambda *_: tuple(clock))
    monkeypatch.setattr(Consent, "ask", ask)
    monkeypatch.setattr(runs, "drill", drill)
    with pytest.raises(Aborted):
        runs.run(str(playbook_file), inventory_file, yes=True)
    assert drilled == [(closed, agreed)]


def test_a_gateway_that_fails_over_by_itself_is_not_switched(
    inventory_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = inventory_file.read_text()
    inventory_file.write_text(text.replace("gateway:\n", "gateway:\n  kind: nginx-passive\n"))
    with pytest.raises(UsageError, match="the gateway of `shop` fails over by itself") as caught:
        switch("zone-b", inventory_file, yes=True)
    assert (caught.value.state, caught.value.hint is not None) == ("nothing was changed", True)
    assert capsys.readouterr() == ("", ""), "not even a plan is shown"
    assert untouched(tmp_path)


def test_nobody_is_asked_while_a_gate_is_closed(on_terminal: Callable[..., Ended], inventory_file: Path) -> None:
    change(inventory_file, production=True, gates=FREEZE)
    ended = on_terminal(*DRILL, prompt="?", keys=b"", NO_COLOR="1")
    assert ended.code == 4
    assert "Type its name" not in ended.out


def test_a_closed_window_says_when_the_next_one_opens(drillctl: Callable[..., Ended], inventory_file: Path) -> None:
    day = datetime.now(UTC) + timedelta(days=3)
    window = f"{{days: [{day:%a}], opens: 22:00, closes: 04:00}}".lower()
    change(inventory_file, gates=f"gates:\n  time_zone: UTC\n  windows: [{window}]\n")
    ended = drillctl(*DRILL, "--yes", "--json")
    assert ended.code == 4
    report = json.loads(ended.out)
    assert report["verdict"] == "not-started"
    assert f"window opens at {day:%a %Y-%m-%d} 22:00 UTC+0000, in " in report["hint"]
    (gate,) = [gate for gate in report["gates"] if gate["name"] == "window"]
    assert gate["rule"] == f"within {day:%a} 22:00 to 04:00 (UTC), with 15 min to go".replace(
        f"{day:%a}", f"{day:%a}".lower()
    )
    assert re.fullmatch(r"closed at \w{3} \d{4}-\d\d-\d\d \d\d:\d\d UTC\+0000", gate["found"])
    assert not spoke_to_hosts(ended)


def test_an_override_is_recorded_with_its_reason(drillctl: Callable[..., Ended], inventory_file: Path) -> None:
    change(inventory_file, gates=FREEZE)
    ended = drillctl(*DRILL, "--yes", "--json", *EMERGENCY)
    report = json.loads(ended.out)
    assert spoke_to_hosts(ended)
    assert report["deviations"] == [
        "blackout overridden (the hall is on fire): 2020-01-01 to 2999-12-31: decommissioned"
    ]
    assert report["gates"][0]["overridden"] == "the hall is on fire"


def test_an_override_is_no_agreement(drillctl: Callable[..., Ended], inventory_file: Path, tmp_path: Path) -> None:
    change(inventory_file, production=True, gates=FREEZE)
    ended = drillctl(*DRILL, "--yes", *EMERGENCY)
    assert ended.code == 2
    assert "--yes is not enough" in ended.err
    assert untouched(tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--override-gate", "agreement", "--reason", "we are in a hurry"],
            "the gate `agreement` cannot be overridden",
        ),
        (["--override-gate", "capacity", "--reason", "we are in a hurry"], "the gate `capacity` cannot be overridden"),
        (["--override-gate", "window"], "a gate is overridden with a --reason, in one line of at least 10 characters"),
        (["--override-gate", "window", "--reason", "hurry"], "a gate is overridden with a --reason"),
        (["--override-gate", "window", "--reason", "hurry\nhurry\nhurry"], "a gate is overridden with a --reason"),
        (["--reason", "in a great hurry"], "--reason is for --override-gate"),
    ],
)
def test_an_override_needs_a_gate_that_can_be_and_a_reason(
    drillctl: Callable[..., Ended], inventory_file: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    ended = drillctl(*DRILL, "--yes", *words)
    assert ended.code == 2
    assert ended.err.startswith(f"error: {said}")
    assert untouched(tmp_path)


def leave_a_drill(folder: Path, hours_ago: float, *, disturbed: bool = True) -> None:
    """Leave the journal of an earlier drill of the estate on this machine."""
    at = (datetime.now(UTC) - timedelta(hours=hours_ago)).isoformat()
    run = folder / "state" / "runs" / "20260101T000000Z-x-0000"
    run.mkdir(parents=True)
    records: list[dict[str, Any]] = [{"at": at, "event": "run", "inventory": "shop"}]
    if disturbed:
        undo = {"kind": "service.revive", "host": "a-1", "words": "start", "arguments": {}}
        records += [{"at": at, "event": "steps"}, {"at": at, "event": "intent", "step": "fault", "undo": undo}]
        records += [{"at": at, "event": "undone", "undo": undo}]
    (run / "journal.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.mark.parametrize(
    ("hours", "disturbed", "refused"), [(19.0, True, True), (21.0, True, False), (1.0, False, False)]
)
def test_the_last_drill_on_this_machine_counts(
    drillctl: Callable[..., Ended], inventory_file: Path, tmp_path: Path, hours: float, disturbed: bool, refused: bool
) -> None:
    change(inventory_file, gates="gates:\n  minimum_hours_between_drills: 20\n")
    leave_a_drill(tmp_path, hours, disturbed=disturbed)
    ended = drillctl(*DRILL, "--yes")
    assert ended.code == 4
    assert spoke_to_hosts(ended) is not refused
    assert ("interval: the last one, 20260101T000000Z-x-0000, began 19 h" in ended.out) is refused


# ---- the plan


def test_a_plan_shows_gates_and_stop_conditions(
    drillctl: Callable[..., Ended], inventory_file: Path, tmp_path: Path
) -> None:
    change(inventory_file, gates=FREEZE)
    ended = drillctl(*DRILL, "--plan")
    assert (ended.code, ended.err) == (0, "")
    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert "blackout: not in the blackout (Europe/Berlin)" in lines
    assert "stop if: it takes longer than 900 s up to the restore" in lines
    assert "stop if: contact with a guard is lost" in lines
    closed = "2020-01-01 to 2999-12-31: decommissioned; never opens for 15 min within the next 800 days"
    assert f"Gate blackout CLOSED: {closed}" in lines
    assert untouched(tmp_path)


# ---- mistakes in the inventory

WINDOW = "{time_zone: UTC, windows: [{opens: 22:00, closes: 04:00, days: [mon]}]}"
BLACKOUT = "{time_zone: UTC, blackouts: [{first_day: 2026-12-24, last_day: 2026-12-26, reason: Christmas}]}"
CLOCK = "must be a time of day such as 22:00, in 24 hours"
ZONE = "`gates.time_zone` must be an IANA time zone such as Europe/Berlin"


@pytest.mark.parametrize(
    ("gates", "at", "said"),
    [
        (
            "{time_zone: Europe/Berlim}",
            "time_zone",
            f"{ZONE} (did you mean Europe/Berlin?), not 'Europe/Berlim'",
        ),
        ("{time_zone: ../../etc/passwd}", "time_zone", f"{ZONE}, not '../../etc/passwd'"),
        (
            WINDOW.replace("time_zone: UTC, ", ""),
            "gates",
            "`gates.time_zone` is missing; windows and blackouts need one, such as Europe/Berlin",
        ),
        (WINDOW.replace("22:00", "25:00"), "opens", f"`gates.windows.0.opens` {CLOCK}, not '25:00'"),
        (WINDOW.replace("04:00", "4:00"), "closes", f"`gates.windows.0.closes` {CLOCK}, not '4:00'"),
        (WINDOW.replace("22:00", "24:00"), "opens", "a day begins at 00:00; 24:00 is for `closes`"),
        (
            WINDOW.replace("04:00", "22:00"),
            "closes",
            "the window closes as it opens, at 22:00; a whole day is 00:00 to 24:00",
        ),
        (
            WINDOW.replace("mon", "someday"),
            "someday",
            "`gates.windows.0.days.0` must be 'mon', 'tue', 'wed', 'thu', 'fri', 'sat' or 'sun', not 'someday'",
        ),
        (WINDOW.replace("days: [mon]", "days: []"), "days", "`gates.windows.0.days` needs at least 1 entry"),
        (
            WINDOW.replace("days: [mon]", "to: 05:00"),
            "to: ",
            "unknown key `to`. Allowed here: closes, days, opens",
        ),
        (
            BLACKOUT.replace("12-26", "12-20"),
            "last_day",
            "the blackout ends on 2026-12-20, before it begins on 2026-12-24",
        ),
        (
            BLACKOUT.replace("2026-12-24", "20261224"),
            "first_day",
            "`gates.blackouts.0.first_day` must be a date such as 2026-12-24, not 20261224",
        ),
        (BLACKOUT.replace("2026-12-24", "2026-02-30"), "1:1", "not YAML: day is out of range for month"),
        (BLACKOUT.replace(", reason: Christmas", ""), "{first", "`gates.blackouts.0.reason` is missing"),
        (
            "{minimum_hours_between_drills: -1}",
            "minimum",
            "`gates.minimum_hours_between_drills` must be greater than 0, not -1",
        ),
        (
            "{minimum_hours: 20}",
            "minimum",
            "unknown key `minimum_hours`; did you mean `minimum_hours_between_drills`? Allowed here: blackouts, "
            "minimum_hours_between_drills, time_zone, windows",
        ),
    ],
)
def test_a_mistake_in_the_gates_is_told_with_its_place(
    drillctl: Callable[..., Ended], inventory_file: Path, gates: str, at: str, said: str
) -> None:
    text = inventory_file.read_text().replace("ssh:\n", f"gates: {gates}\nssh:\n")
    inventory_file.write_text(text)
    line = next(number for number, line in enumerate(text.splitlines(), 1) if line.startswith("gates:"))
    place = at if ":1" in at else f"{line}:{f'gates: {gates}'.index(at) + 1}"
    ended = drillctl("validate", "playbook.yaml", "-i", "inventory.yaml")
    assert ended.code == 2
    told = [line for line in ended.err.splitlines() if line.startswith("error:")]
    assert told == [f"error: inventory.yaml:{place}: {said}"]
