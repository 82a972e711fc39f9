"""Packet filters: what a cut to drillctl itself does and when, by the real script with an nft that only notes calls."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from drillctl.errors import Inconclusive
from drillctl.faults.fault import Place
from drillctl.faults.packets import DELAY, INJECT, Loss, Partition, Reject
from drillctl.hosts.fleet import Fleet
from drillctl.hosts.scripted import ScriptedTransport

if TYPE_CHECKING:
    from pathlib import Path

    from drillctl.inventory import Inventory

NFT = """#!/bin/sh
case $1 in -c) what=checked ;; -f) what=made ;; *) what=$1 ;; esac
case $1 in -*) cat >/dev/null ;; esac
echo "$what" >> "$(dirname "$0")/calls"
"""


def calls_of(folder: Path) -> list[str]:
    file = folder / "calls"
    return file.read_text().split() if file.exists() else []


def test_a_cut_to_drillctl_begins_after_the_command_has_ended_and_ends_by_itself(tmp_path: Path) -> None:
    (tmp_path / "nft").write_text(NFT)
    (tmp_path / "nft").chmod(0o755)
    words = ("drillctl_t", "22", "drop", "drillctl", "1", "127.0.0.1")
    began = time.monotonic()
    subprocess.run(
        ["sh", "-c", INJECT, "drillctl", *words],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=True,
    )
    if time.monotonic() - began < DELAY:  # unless this machine was too busy to tell
        assert calls_of(tmp_path) == ["checked"]
    deadline = time.monotonic() + 20
    while calls_of(tmp_path) != ["checked", "made", "delete"]:
        assert time.monotonic() < deadline, calls_of(tmp_path)
        time.sleep(0.05)


class Cut(ScriptedTransport):
    """A host that answers until a cut begins, so many looks from now."""

    looks = 3

    def alive(self, timeout: float = 5.0) -> bool:
        self.looks -= 1
        return self.looks > 0


def test_a_cut_that_is_yet_to_begin_is_awaited(estate: Inventory) -> None:
    host = estate.zone("primary").hosts[0]
    transport = Cut(host.name, {})
    place = Place("run", estate, host, Fleet(estate, {host.name: transport}), None)
    fault = Partition.model_validate({"step": "fault", "fault": "partition", "from": "drillctl", "seconds": 1})
    assert fault.prove(place, "") == "the host does not answer drillctl, for 1 s"
    transport.looks = 1_000_000
    with pytest.raises(Inconclusive, match="still answers drillctl"):
        fault.prove(place, "")


@pytest.mark.parametrize("kind", [Reject, Loss])
def test_what_does_not_end_by_itself_does_not_strike_drillctl(kind: type[Reject | Loss]) -> None:
    word = kind.__name__.lower()
    assert kind.model_validate({"step": "fault", "fault": word, "from": "clients"}).meets == "clients"
    with pytest.raises(ValidationError, match="'gateway' or 'clients'"):
        kind.model_validate({"step": "fault", "fault": word, "from": "drillctl"})
