"""Notifications through Apprise to a real HTTP server: also one that refuses, fails or hangs; never with a secret."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from receiver import Manner, Receiver

from drillctl import inventory as inventories
from drillctl.errors import FileError, UsageError
from drillctl.notify.channel import Channel, channels_of, redacted, secrets_of
from drillctl.notify.message import Message, Topic
from drillctl.notify.sender import Patience, Sender

if TYPE_CHECKING:
    from pathlib import Path

ALARM = Message("alarm", "failure", "shop: ALARM: a-1: no answer", "a-1: its server does not answer")
QUICK = Patience(attempts=3, seconds=1.0, pause=0.01)


def channel(port: int, topics: tuple[Topic, ...] = ("alarm", "recovery", "drill")) -> Channel:
    return Channel("ops", topics, (f"json://bot:hunter2@127.0.0.1:{port}/hook-s3cret",))


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def test_a_message_arrives_with_its_title_its_body_and_its_kind() -> None:
    notes: list[str] = []
    with Receiver() as receiver:
        with Sender([channel(receiver.port)], note=notes.append) as sender:
            sender.send(ALARM)
        assert notes == []
        (document,) = receiver.got
    assert (document["title"], document["message"], document["type"]) == (ALARM.title, ALARM.body, "failure")
    assert sender.tallies["ops"].sent == 1


def test_a_channel_gets_only_what_it_wants() -> None:
    with Receiver() as receiver:
        with Sender([channel(receiver.port, ("drill",))]) as sender:
            sender.send(ALARM)
            sender.send(Message("drill", "success", "passed", "all objectives"))
        assert [document["title"] for document in receiver.got] == ["passed"]


@pytest.mark.parametrize(
    ("manner", "why", "attempts"),
    [
        ("fails", "the service did not take it (3 attempts)", 3),
        ("hangs", "an earlier attempt still hangs (3 attempts)", 1),
        ("drips", "an earlier attempt still hangs (3 attempts)", 1),
    ],
)
def test_a_service_that_does_not_take_it_delays_nobody_and_is_given_up(manner: Manner, why: str, attempts: int) -> None:
    notes: list[str] = []
    with Receiver(manner) as receiver:
        sender = Sender([channel(receiver.port)], note=notes.append, patience=QUICK)
        begun = time.monotonic()
        sender.send(ALARM)
        assert time.monotonic() - begun < 0.1, "whoever sends does not wait"
        assert sender.close(10) == (), "it is given up within a bound"
        assert receiver.asked == attempts
    assert notes == [f"channel ops (json) was not told: {why}"]
    assert sender.tallies["ops"].failed == 1


def test_a_port_that_refuses_is_said_without_any_secret() -> None:
    notes: list[str] = []
    with Sender([channel(closed_port())], note=notes.append, patience=QUICK) as sender:
        sender.send(ALARM)
    assert notes == ["channel ops (json) was not told: the service did not take it (3 attempts)"]


def test_a_service_that_fails_once_is_tried_again() -> None:
    with Receiver("fails") as receiver:
        with Sender([channel(receiver.port)], patience=Patience(3, 5.0, 0.5)) as sender:
            sender.send(ALARM)
            deadline = time.monotonic() + 10
            while not receiver.asked and time.monotonic() < deadline:
                time.sleep(0.01)
            receiver.manner = "takes"
        assert len(receiver.got) == 1
    assert sender.tallies["ops"].sent == 1


def test_of_several_urls_only_the_one_that_fails_is_tried_again() -> None:
    notes: list[str] = []
    with Receiver("takes") as takes, Receiver("fails") as fails:
        both = replace(channel(takes.port), urls=(*channel(takes.port).urls, *channel(fails.port).urls))
        with Sender([both], note=notes.append, patience=QUICK) as sender:
            sender.send(ALARM)
        assert (len(takes.got), fails.asked) == (1, 3)
    assert (sender.tallies["ops"].sent, sender.tallies["ops"].failed) == (1, 1)
    assert len(notes) == 1


def test_closing_waits_no_longer_than_told() -> None:
    with Receiver("hangs") as receiver:
        sender = Sender([channel(receiver.port)], patience=Patience(3, 60.0, 1.0))
        sender.send(ALARM)
        begun = time.monotonic()
        assert sender.close(0.5) == ("ops",)
        assert time.monotonic() - begun < 2


def test_of_more_messages_than_can_wait_the_oldest_are_dropped() -> None:
    with Receiver("hangs") as receiver:
        sender = Sender([channel(receiver.port)], patience=Patience(1, 60.0, 1.0))
        for _ in range(150):
            sender.send(ALARM)
        assert sender.tallies["ops"].dropped >= 49


def test_a_url_of_no_service_is_said() -> None:
    notes: list[str] = []
    with Sender([Channel("ops", ("alarm",), ("nowhere://s3cret",))], note=notes.append, patience=QUICK) as sender:
        sender.send(ALARM)
    assert notes == ["channel ops (nowhere) was not told: a URL of it is none that Apprise knows"]


@pytest.mark.parametrize(
    "url",
    [
        "dingtalk://abcdef123456",
        "feishu://abcdef123456",
        "wecombot://abcdef123456",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops",
        "mailto://ops:password@example.org",
        "jsons://example.org/hook",
    ],
)
def test_apprise_knows_the_services_that_the_documentation_names(url: str) -> None:
    import apprise

    assert apprise.Apprise().add(url)


# ---- where URLs come from


def with_notify(inventory_file: Path, text: str) -> Path:
    inventory_file.write_text(inventory_file.read_text() + text)
    return inventory_file


def test_urls_come_from_a_variable_or_a_file(
    inventory_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "urls"
    secret.write_text("# two services\njson://one.example\n\ndingtalk://token123\n")
    secret.chmod(0o600)
    monkeypatch.setenv("OPS_URL", "json://three.example")
    text = "notify:\n  - {name: file, file: urls, on: [alarm]}\n  - {name: variable, environment: OPS_URL}\n"
    by_file, by_variable = channels_of(inventories.load(with_notify(inventory_file, text)))
    assert by_file.urls == ("json://one.example", "dingtalk://token123")
    assert (by_file.topics, by_file.kinds) == (("alarm",), "dingtalk, json")
    assert by_variable.urls == ("json://three.example",)
    assert "token123" not in repr(by_file)


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (None, 0, "cannot be read: No such file or directory"),
        ("json://s3cret.example\n", 0o644, "everybody may read"),
        ("\n# nothing\n", 0o600, "holds no URL"),
        ("s3cret\n", 0o600, "holds something that is no URL"),
        ("mailto://user:[s3cret]x@host\n", 0o600, "holds something that is no URL"),
        ("mailto://user:pa[s3cret@host\n", 0o600, "holds something that is no URL"),
        (b"\xff\xfe", 0o600, "is not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_used_is_said_without_what_it_holds(
    inventory_file: Path, tmp_path: Path, content: str | bytes | None, mode: int, said: str
) -> None:
    if content is not None:
        (tmp_path / "urls").write_bytes(content if isinstance(content, bytes) else content.encode())
        (tmp_path / "urls").chmod(mode)
    estate = inventories.load(with_notify(inventory_file, "notify:\n  - {name: ops, file: urls}\n"))
    with pytest.raises(UsageError) as refused:
        channels_of(estate)
    assert said in str(refused.value)
    assert "s3cret" not in f"{refused.value} {refused.value.hint}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("notify: [{name: ops}]\n", "needs either `environment` or `file`"),
        ("notify: [{name: ops, environment: A, file: b}]\n", "needs either `environment` or `file`"),
        ("notify: [{name: ops, environment: A}, {name: ops, environment: B}]\n", "named twice"),
        ("notify: [{name: ops, url: 'json://s3cret'}]\n", "unknown key `url`"),
        ("notify: [{name: ops, environment: A, on: [everything]}]\n", "must be 'alarm', 'recovery' or 'drill'"),
    ],
)
def test_an_inventory_that_cannot_be_meant_is_refused(inventory_file: Path, text: str, said: str) -> None:
    with pytest.raises(FileError) as refused:
        inventories.load(with_notify(inventory_file, text))
    assert said in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_no_message_holds_a_part_of_a_url_or_what_a_service_is_given(
    inventory_file: Path, process_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory_file.write_text(process_text + "notify: [{name: ops, environment: OPS_URL}]\n")
    monkeypatch.setenv("OPS_URL", "json://bot:hunter2@host.example/hook%2Ds3cret?key=abcdef&rto=2")
    estate = inventories.load(inventory_file)
    secrets = secrets_of(estate, channels_of(estate))
    assert "abcdef123456" in secrets_of(estate, [Channel("ops", ("alarm",), ("dingtalk://abcdef123456",))])
    text = "bot:hunter2 at host.example:80, hook-s3cret and hook%2Ds3cret with abcdef; API_TOKEN=s3cret; rto 2"
    assert redacted(text, secrets) == "bot:*** at host.example:80, *** and *** with ***; API_TOKEN=***; rto 2"


def test_the_names_of_the_estate_are_no_secrets(inventory_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inventory_file.write_text(inventory_file.read_text() + "notify: [{name: ops, environment: OPS_URL}]\n")
    monkeypatch.setenv("OPS_URL", "jsons://hook.example/drillctl/zone/s3cret")
    estate = inventories.load(inventory_file)
    secrets = secrets_of(estate, channels_of(estate))
    assert redacted("drillctl, shop: zone-b is down, s3cret", secrets) == "drillctl, shop: zone-b is down, ***"


def test_what_is_sent_is_redacted() -> None:
    with Receiver() as receiver:
        with Sender([channel(receiver.port)], secrets=("s3cret",)) as sender:
            sender.send(Message("alarm", "failure", "title s3cret", "body s3cret"))
        assert "s3cret" not in str(receiver.got)
        assert receiver.got[0]["message"] == "body ***"
