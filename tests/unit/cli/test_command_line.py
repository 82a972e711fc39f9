"""The command line from outside: exit codes, exact words, and nothing touched when it refuses."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from drillctl import playbook as playbooks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Ended

HEAVY = (
    "alembic",
    "apprise",
    "cronsim",
    "prometheus_client",
    "sqlalchemy",
    "torch",
    "torchvision",
    "numpy",
    "paramiko",
    "cryptography",
    "aiohappyeyeballs",
    "h11",
    "pydantic",
    "requests",
    "ruamel",
    "rich",
    "jinja2",
    "junitparser",
    "PIL",
    "svg",
)
COLOUR = re.compile(r"\x1b\[[0-9;]*(3|4|9|10)[0-7]m")
DRILL = ("run", "playbook.yaml", "-i", "inventory.yaml")


@pytest.fixture
def listener(tmp_path: Path, inventory_file: Path, playbook_file: Path) -> Iterator[list[socket.socket]]:
    """Put every host of the inventory at one port that accepts and never speaks; return the connections it got."""
    came: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    came.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        at_port(inventory_file, server.getsockname()[1])
        yield came
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in came:
        connection.close()


def at_port(inventory_file: Path, port: int) -> None:
    """Point the inventory's hosts at three loopback addresses, where nothing but that port is of interest."""
    known = inventory_file.parent / "known_hosts"
    known.touch()
    text = inventory_file.read_text().replace("10.0.", "127.0.")
    text += f"  port: {port}\n  known_hosts: known_hosts\n  connect_timeout_seconds: 1\n"
    inventory_file.write_text(text)


@pytest.fixture
def dead(inventory_file: Path, playbook_file: Path) -> Iterator[int]:
    """Put every host at a port that refuses; return it."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        at_port(inventory_file, unused.getsockname()[1])
        yield unused.getsockname()[1]


# ---- help


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["-h"],
        *(
            [name, "--help"]
            for name in ("run", "status", "watch", "schedule", "notify", "recover", "report", "validate", "lab")
        ),
    ],
    ids=" ".join,
)
def test_help_is_there_and_imports_nothing_heavy(drillctl: Callable[..., Ended], words: list[str]) -> None:
    ended = drillctl(*words, python=("-X", "importtime", "-m", "drillctl"))
    assert ended.code == 0
    assert "Usage:" in ended.out
    imported = {line.rsplit("|", 1)[-1].strip() for line in ended.err.splitlines() if line.startswith("import time:")}
    assert "drillctl.cli.app" in imported, "the list of imports was read rightly"
    # typer itself reads the words of a command by pydantic.
    heavy = set(HEAVY) - ({"pydantic"} if len(words) > 1 else set())
    assert [name for name in imported if name.split(".")[0] in heavy] == []


@pytest.mark.parametrize("name", ["", " ", "two\nlines", "x" * 201, "\udcff"])
def test_a_name_that_no_report_can_show_is_refused(
    drillctl: Callable[..., Ended], inventory_file: Path, playbook_file: Path, name: str
) -> None:
    ended = drillctl(*DRILL, "--yes", "--participant", "Li Wei", "--participant", name)
    assert ended.code == 2
    assert "is no name for the report" in ended.err
    assert ended.quiet


def test_help_names_every_command_and_every_exit_code(drillctl: Callable[..., Ended]) -> None:
    text = drillctl("--help").out
    for command in ("run", "status", "recover", "report", "verify-bundle", "validate", "lab"):
        assert f"\n  {command} " in text
    for code in (
        "0 passed",
        "1 failed",
        "2 usage",
        "3 inconclusive",
        "4 not started",
        "5 aborted",
        "6 restore",
        "70 a",
    ):
        assert code in " ".join(text.split())


def test_without_words_it_shows_help_and_does_not_exit_0(drillctl: Callable[..., Ended]) -> None:
    ended = drillctl()
    assert ended.code == 2
    assert "Usage:" in ended.out + ended.err


def test_version(drillctl: Callable[..., Ended]) -> None:
    from drillctl import __version__

    assert drillctl("--version").out == f"drillctl {__version__}\n"


# ---- validate


def test_validate_says_what_is_valid(drillctl: Callable[..., Ended], inventory_file: Path, playbook_file: Path) -> None:
    ended = drillctl("validate", "playbook.yaml", "-i", "inventory.yaml")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        "inventory.yaml: inventory `shop` is valid (3 hosts, staging)\n"
        "playbook.yaml: playbook `loss-of-zone` is valid (2 images)\n"
    )


def test_validate_notes_a_key_that_is_not_on_this_machine(
    drillctl: Callable[..., Ended], inventory_file: Path, tmp_path: Path
) -> None:
    inventory_file.write_text(inventory_file.read_text() + "  key: id_drill\n  known_hosts: known_hosts\n")
    (tmp_path / "known_hosts").touch()
    ended = drillctl("validate", "-i", "inventory.yaml")
    assert ended.code == 0, "it may be checked where nobody logs in from"
    assert ended.err == f"note: {tmp_path}/id_drill is not on this machine: the SSH key of gateway, a-1, b-1\n"
    (tmp_path / "id_drill").touch()
    assert drillctl("validate", "-i", "inventory.yaml").err == ""


def test_each_host_is_named_once_where_its_lease_cannot_be_asked_for(drillctl: Callable[..., Ended], dead: int) -> None:
    ended = drillctl("lease", "show", "-i", "inventory.yaml")
    assert ended.code == 4
    assert sorted(line.split(" cannot be reached")[0] for line in ended.out.splitlines()) == [
        f"a-1: 127.0.1.1:{dead}",
        f"b-1: 127.0.2.1:{dead}",
        f"gateway: 127.0.0.1:{dead}",
    ]
    document = json.loads(drillctl("lease", "show", "-i", "inventory.yaml", "--json").out)
    assert all(host["problem"].startswith("127.0.") for host in document["hosts"])


def test_validate_takes_every_playbook_that_ships(drillctl: Callable[..., Ended], inventory_file: Path) -> None:
    ended = drillctl("validate")
    assert ended.code == 0
    for name in playbooks.builtin():
        assert f"playbook `{name}` is valid" in ended.out


def test_validate_tells_the_mistakes_of_both_files_at_once(
    drillctl: Callable[..., Ended], inventory_file: Path, playbook_file: Path
) -> None:
    inventory_file.write_text(inventory_file.read_text().replace("role: primary", "role: main"))
    playbook_file.write_text(playbook_file.read_text().replace("rate: 10", "rte: 10"))
    ended = drillctl("validate", "playbook.yaml", "-i", "inventory.yaml")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "error: inventory.yaml:5:5: `zones.0.role` must be 'primary' or 'standby', not 'main'\n"
        "error: playbook.yaml:7:3: unknown key `rte`; did you mean `rate`? Allowed here: baseline_seconds, images, "
        "observation_seconds, rate, slow_seconds, timeout_seconds\n"
        "state: nothing was changed\n"
        "next:  mend these lines, then run `drillctl validate` again\n"
    )


def test_words_of_a_file_cannot_play_with_the_terminal(drillctl: Callable[..., Ended], inventory_file: Path) -> None:
    inventory_file.write_text(inventory_file.read_text() + '"\\e[2J[red]": 1\n')
    ended = drillctl("validate", "-i", "inventory.yaml")
    assert ended.code == 2
    assert "\x1b" not in ended.err
    assert "unknown key `\\x1b[2J[red]`" in ended.err
    inventory_file.write_text('name: "\\ud800"\n"\\ud801": 1\n')
    ended = drillctl("validate", "-i", "inventory.yaml")
    assert ended.code == 2
    assert ended.quiet


# ---- what is refused before anything is touched


@pytest.mark.parametrize(
    ("words", "lab"),
    [
        (["validate"], False),
        (["schedule", "zone-failover", "--every", "0 3 * * 1"], False),
        (["status"], True),
        (["run", "zone-failover"], True),
        (["run", "zone-failover", "--yes"], True),
    ],
)
def test_without_an_inventory_it_says_what_to_do(drillctl: Callable[..., Ended], words: list[str], lab: bool) -> None:
    ended = drillctl(*words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "error: there is no inventory file inventory.yaml\n"
        "state: nothing was changed\n"
        f"next:  name one with --inventory{', or try the lab with --lab' if lab else ''}; "
        "the README shows how to write one\n"
    )


def test_an_inventory_may_be_named_by_a_variable(drillctl: Callable[..., Ended], inventory_file: Path) -> None:
    other = inventory_file.rename(inventory_file.with_name("other.yaml"))
    ended = drillctl("validate", "zone-failover", DRILLCTL_INVENTORY=str(other))
    assert ended.code == 0
    assert f"{other}: inventory `shop` is valid" in ended.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["run", "zone-failovr"],
            "error: there is no built-in playbook `zone-failovr`; did you mean `zone-failover`?\n",
        ),
        (["run", "nowhere.yaml"], "error: there is no playbook file nowhere.yaml"),
        (["run", "zone-failover", "--lab", "-i", "inventory.yaml"], "error: --lab and --inventory name two estates"),
        (["recover", "20260101T000000Z-x-0000"], "error: there is no run 20260101T000000Z-x-0000 on this machine"),
        (["run"], "Missing argument 'PLAYBOOK'"),
        (["drill"], "No such command 'drill'"),
        (["run", "zone-failover", "--force"], "No such option"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_words_exit_2_with_one_clear_message(
    drillctl: Callable[..., Ended], inventory_file: Path, words: list[str], said: str
) -> None:
    ended = drillctl(*words)
    assert ended.code == 2
    assert said in ended.err
    assert ended.quiet
    assert ended.out == ""


def test_without_a_terminal_and_without_yes_nothing_is_touched(
    drillctl: Callable[..., Ended], listener: list[socket.socket], tmp_path: Path
) -> None:
    ended = drillctl(*DRILL)
    assert ended.code == 2
    assert "error: there is no terminal to ask on\nstate: nothing was changed\nnext:  say --yes" in ended.err
    assert "8 changes, each with its undo" in ended.err, "the plan was shown"
    assert listener == [], "no host was spoken to"
    assert not (tmp_path / "state").exists(), "no run was begun"


def test_a_plan_alone_touches_nothing(
    drillctl: Callable[..., Ended], listener: list[socket.socket], tmp_path: Path
) -> None:
    ended = drillctl(*DRILL, "--plan")
    assert ended.code == 0
    assert "8 changes, each with its undo; 3 hosts." in ended.out
    assert ended.err == ""
    assert listener == []
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("keys", [b"n\n", b"\n", b"\x04", b"\x03"], ids=["no", "nothing", "Ctrl-D", "Ctrl-C"])
def test_a_person_who_does_not_say_yes_is_obeyed(
    on_terminal: Callable[..., Ended], listener: list[socket.socket], tmp_path: Path, keys: bytes
) -> None:
    ended = on_terminal(*DRILL, prompt="Drill shop (staging)?", keys=keys, NO_COLOR="1")
    assert ended.code == 4, ended.out
    assert "you said no\nstate: nothing was changed\n" in ended.out
    assert listener == []
    assert not (tmp_path / "state").exists()


# ---- hosts that cannot be reached


def test_a_drill_on_hosts_that_cannot_be_reached_does_not_start(
    drillctl: Callable[..., Ended], dead: int, tmp_path: Path
) -> None:
    ended = drillctl(*DRILL, "--yes")
    assert ended.code == 4
    assert ended.quiet
    for host in ("gateway", "a-1", "b-1"):
        assert ended.out.count(f"{host}: 127.0.") == 1
    assert "NOT-STARTED a gate refused; nothing was changed (exit code 4" in ended.out
    (folder,) = (tmp_path / "state" / "runs").iterdir()
    assert json.loads((folder / "report.json").read_text())["verdict"] == "not-started"


def test_a_report_as_json_is_one_document_whatever_happened(drillctl: Callable[..., Ended], dead: int) -> None:
    ended = drillctl(*DRILL, "--yes", "--json")
    document = json.loads(ended.out)
    assert (document["schema_version"], document["verdict"], document["exit_code"]) == (1, "not-started", 4)
    assert ended.code == 4


def test_status_of_hosts_that_cannot_be_reached_is_a_table_and_exit_code_4(
    drillctl: Callable[..., Ended], dead: int
) -> None:
    ended = drillctl("status", "-i", "inventory.yaml")
    assert ended.code == 4
    assert ended.quiet
    assert "NOT all is well" in ended.out
    assert "a-1" in ended.out
    document = json.loads(drillctl("status", "-i", "inventory.yaml", "--json").out)
    assert document["ok"] is False
    assert [host["name"] for host in document["hosts"]] == ["a-1", "b-1"]
    keys = {"name", "zone", "role", "address", "health", "ready", "uptime_sec", "device", "model"}
    assert all(keys == set(host) for host in document["hosts"])
    assert {"configured_zone", "serving_zone", "hosts"} <= set(document["gateway"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_connects_ends_a_drill_as_aborted(
    listener: list[socket.socket], tmp_path: Path, number: signal.Signals
) -> None:
    from_outside = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DRILLCTL_HOME": str(tmp_path / "state")}
    started = subprocess.Popen(
        [sys.executable, "-m", "drillctl", *DRILL, "--yes"],
        cwd=tmp_path,
        env=from_outside,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while not listener and time.monotonic() < deadline:
        time.sleep(0.01)
    started.send_signal(number)
    out, err = started.communicate(timeout=30)
    assert started.returncode in {4, 5}, err
    assert f"{number.name}: stopping" in err
    assert "Traceback" not in out + err


# ---- how it writes


def test_colour_is_for_terminals_and_can_be_turned_off(
    on_terminal: Callable[..., Ended], drillctl: Callable[..., Ended], dead: int
) -> None:
    words = ("status", "-i", "inventory.yaml")
    assert COLOUR.search(on_terminal(*words).out), "on a terminal there is colour"
    assert not COLOUR.search(on_terminal(*words, NO_COLOR="1").out)
    assert not COLOUR.search(on_terminal("--no-color", *words).out)
    assert not COLOUR.search(on_terminal(*words, "--no-color").out)
    assert "\x1b" not in on_terminal(*words, TERM="dumb").out
    assert "\x1b" not in drillctl(*words).out


@pytest.mark.parametrize(
    "words", [("--help",), ("validate", "-i", "inventory.yaml"), ("status", "-i", "inventory.yaml")]
)
def test_a_reader_that_goes_away_is_no_reason_to_complain(tmp_path: Path, dead: int, words: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as gone:
        ended = subprocess.run(
            [sys.executable, "-m", "drillctl", *words],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            stdout=gone,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert ended.stderr == b""
    assert ended.returncode != 0
