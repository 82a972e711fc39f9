"""Undos as data: registered once, struck out once, and gone through from the last to the first."""

from __future__ import annotations

import json

from drillctl.undo import Outstanding, Undo

STOP = Undo("service.stop", "a-1", "stop the server")
DISCARD = Undo("gateway.discard", "", "remove the staged config", {"run": "r"})
REVIVE = Undo("service.revive", "a-1", "start the server")
REVIVE_B = Undo("service.revive", "b-1", "start the server")


def filled(*undos: Undo) -> Outstanding:
    outstanding = Outstanding()
    for undo in undos:
        outstanding.add(undo)
    return outstanding


def test_the_last_registered_is_undone_first() -> None:
    outstanding = filled(STOP, DISCARD, REVIVE, REVIVE_B)
    assert list(outstanding) == [REVIVE_B, REVIVE, DISCARD, STOP]
    assert outstanding.of("service.revive") == [REVIVE_B, REVIVE]
    assert outstanding.of("service.stop", "gateway.discard") == [DISCARD, STOP]
    assert outstanding.of("gateway.restore") == []


def test_the_same_undo_counts_once() -> None:
    outstanding = filled(REVIVE, REVIVE)
    assert len(outstanding) == 1
    outstanding.done(REVIVE)
    outstanding.done(REVIVE)
    assert len(outstanding) == 0


def test_undos_may_be_struck_out_while_they_are_gone_through() -> None:
    outstanding = filled(STOP, DISCARD, REVIVE)
    for undo in outstanding:
        outstanding.done(undo)
    assert list(outstanding) == []


def test_an_undo_survives_the_way_through_a_journal() -> None:
    for undo in (STOP, DISCARD, REVIVE):
        assert Undo(**json.loads(json.dumps(undo.to_json()))) == undo
