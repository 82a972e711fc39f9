"""What people are told, in words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from drillctl.notify.message import of_events
from drillctl.patrol.event import Event, Word

if TYPE_CHECKING:
    from drillctl.inventory import Inventory

AT = datetime(2026, 11, 25, 12, tzinfo=UTC)


def event(word: Word, text: str) -> Event:
    return Event(AT, word, text, "health", "a-1")


def test_the_changes_of_one_look_are_one_message_of_alarms_and_one_of_recoveries(estate: Inventory) -> None:
    events = [
        event("suspect", "c-1: its server does not answer (look 1 of 2)"),
        event("ALARM", "a-1: its server does not answer"),
        event("ALARM", "gateway: 502"),
        event("recovered", "no longer: b-1: its server does not answer (after 90 s)"),
    ]
    alarm, recovery = of_events(estate, events, still=2)
    assert (alarm.topic, alarm.severity) == ("alarm", "failure")
    assert alarm.title == "drillctl, shop (staging): ALARM: a-1: its server does not answer and 1 more"
    assert alarm.body.splitlines() == [
        "2026-11-25T12:00:00Z ALARM     a-1: its server does not answer",
        "2026-11-25T12:00:00Z ALARM     gateway: 502",
    ]
    assert recovery.title == "drillctl, shop (staging): recovered: b-1: its server does not answer (after 90 s)"
    assert recovery.body.endswith("2 alarms are left; `drillctl status` tells.")


def test_what_is_only_suspected_is_told_to_nobody(estate: Inventory) -> None:
    assert of_events(estate, [event("suspect", "x"), event("vanished", "x"), event("drill", "x")], still=0) == []


def test_the_last_recovery_says_that_all_is_well(estate: Inventory) -> None:
    (message,) = of_events(estate, [event("recovered", "no longer: x")], still=0)
    assert message.body.endswith("All is well again.")
