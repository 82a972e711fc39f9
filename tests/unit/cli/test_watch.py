"""`drillctl watch` and `notify` from outside: what they refuse, how they end, and that no secret is printed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from receiver import Receiver

from drillctl.cli.watch import with_credential

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Ended

    from drillctl.inventory import Inventory


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--every", "30"), "`30` is no time between 1 second and 24 hours"),
        (("--every", "0.5s"), "`0.5s` is no time"),
        (("--every", "*/30 * * * *"), "is no time"),
        (("--json",), "--json needs --once"),
        (("--once", "--metrics", "127.0.0.1:0"), "exclude each other"),
        (("--metrics", "9786", "--no-store"), "`9786` is no ADDRESS:PORT"),
        (("--hold", "0"), "Invalid value for '--hold'"),
    ],
)
def test_wrong_words_exit_2(
    drillctl: Callable[..., Ended], inventory_file: Path, words: tuple[str, ...], said: str
) -> None:
    ended = drillctl("watch", "-i", "inventory.yaml", *words)
    assert ended.code == 2, ended.err
    assert said in ended.err
    assert ended.quiet


def test_once_with_hosts_that_cannot_be_reached_is_a_document_and_exit_code_4(
    drillctl: Callable[..., Ended], dead_estate: Path
) -> None:
    ended = drillctl("watch", "-i", "inventory.yaml", "--once", "--json")
    assert ended.code == 4, ended.err
    document = json.loads(ended.out)
    assert document["ok"] is False
    found = {(one["kind"], one["place"]) for one in document["findings"]}
    assert {("unreachable", "a-1"), ("unreachable", "b-1"), ("unreachable", "gateway")} <= found
    assert ("serving-zone", "gateway") in found
    assert (dead_estate.parent / "state/history.db").is_file()


def test_a_signal_ends_it_with_0(dead_estate: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "drillctl", "watch", "-i", "inventory.yaml", "--every", "1s", "--hold", "1"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DRILLCTL_HOME": str(tmp_path / "state")}
    started = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert started.stdout is not None
    lines = [started.stdout.readline().decode() for _ in range(5)]
    began = time.monotonic()
    started.send_signal(signal.SIGTERM)
    _, err = started.communicate(timeout=20)
    assert (started.returncode, err) == (0, b"")
    assert time.monotonic() - began < 10
    assert " started   shop: 3 hosts, every 1 s, an alarm after 1 look\n" in lines[0]
    assert all(" ALARM     " in line for line in lines[1:])


def test_a_second_signal_does_not_wait_for_a_host_that_is_silent(inventory_file: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        text = inventory_file.read_text().replace("10.0.", "127.0.")
        text += f"  port: {silent.getsockname()[1]}\n  known_hosts: known_hosts\n  connect_timeout_seconds: 60\n"
        inventory_file.write_text(text)
        (tmp_path / "known_hosts").touch()
        words = [sys.executable, "-m", "drillctl", "watch", "-i", "inventory.yaml", "--no-store"]
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        started = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE)
        assert started.stdout is not None
        assert " started " in started.stdout.readline().decode()
        silent.settimeout(20)
        connection, _ = silent.accept()
        with connection:
            started.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert started.poll() is None, "the look goes on"
            started.send_signal(signal.SIGTERM)
            assert started.wait(5) == 128 + signal.SIGTERM
        started.stdout.close()


def test_two_signals_end_it_while_the_main_thread_hears_nothing() -> None:
    program = (
        "import hashlib; from drillctl.cli.watch import stop_on_signals\n"
        "stop_on_signals(); print('ready', flush=True)\n"
        "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"  # a call of C that no signal interrupts
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as started:
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == b"ready\n"
            time.sleep(0.2)
            started.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert started.poll() is None
            started.send_signal(signal.SIGTERM)
            assert started.wait(5) == 128 + signal.SIGTERM
        finally:
            started.kill()


# ---- notify


def test_every_channel_gets_a_test_message_and_no_secret_is_printed(
    drillctl: Callable[..., Ended], inventory_file: Path
) -> None:
    channels = "notify:\n  - {name: ops, environment: OPS_URL}\n  - {name: boss, environment: BOSS_URL, on: [drill]}\n"
    inventory_file.write_text(inventory_file.read_text() + channels)
    with Receiver() as receiver, Receiver("fails") as failing:
        urls = {
            "OPS_URL": f"json://127.0.0.1:{receiver.port}/s3cret",
            "BOSS_URL": f"json://127.0.0.1:{failing.port}/s3cret",
        }
        ended = drillctl("notify", "-i", "inventory.yaml", **urls)
        assert len(receiver.got) == 1
    assert ended.code == 1
    assert ended.out == "ops: told, by json, of alarm, recovery, drill\nboss: NOT told, by json, of drill\n"
    assert "channel boss (json) was not told: the service did not take it (3 attempts)" in ended.err
    assert "s3cret" not in ended.out + ended.err


def test_a_drill_that_could_not_start_is_told_as_well(
    drillctl: Callable[..., Ended], dead_estate: Path, playbook_file: Path
) -> None:
    dead_estate.write_text(dead_estate.read_text() + "notify: [{name: ops, environment: OPS_URL}]\n")
    with Receiver() as receiver:
        words = ("run", "playbook.yaml", "-i", "inventory.yaml", "--yes")
        ended = drillctl(*words, OPS_URL=f"json://127.0.0.1:{receiver.port}/s3cret")
        (document,) = receiver.got
    assert ended.code == 4
    assert document["title"] == "drillctl, shop (staging): drill loss-of-zone not-started"
    assert "verdict: not-started (exit code 4)" in document["message"]
    unusable = drillctl("run", "playbook.yaml", "-i", "inventory.yaml", "--yes")
    assert unusable.code == 4, "the verdict is the drill's, whatever becomes of the message"
    assert "channel `ops` of `notify` cannot be used: the variable OPS_URL holds no URL" in unusable.err


def test_without_a_channel_it_says_how_to_name_one(drillctl: Callable[..., Ended], inventory_file: Path) -> None:
    ended = drillctl("notify", "-i", "inventory.yaml")
    assert ended.code == 2
    assert "names nobody to tell" in ended.err


# ---- as a service


def test_a_key_that_systemd_hands_over_is_taken_instead_of_the_inventorys(
    estate: Inventory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    assert with_credential(estate).ssh.key == estate.ssh.key, "without a key in it nothing changes"
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials/ssh-key").write_text("a key")
    assert with_credential(estate).ssh.key == tmp_path / "credentials/ssh-key"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert with_credential(estate).ssh.key == estate.ssh.key
