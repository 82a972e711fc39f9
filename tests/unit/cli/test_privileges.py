"""`drillctl privileges` from outside: what is printed can be piped into a shell, and nothing else is on stdout."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Ended

HERE = ("-i", "inventory.yaml")


def test_what_runs_as_root_is_shown(drillctl: Callable[..., Ended], inventory_file: Path) -> None:
    done = drillctl("privileges", "show", "a-1", *HERE)
    assert (done.code, done.err) == (0, "")
    assert (
        "/usr/local/libexec/drillctl/service-kill\n  kill every process of inference.service, and prove it\n"
        "    inference.service 8000 90-drillctl-hold.conf\n"
    ) in done.out
    document = json.loads(drillctl("privileges", "show", "a-1", *HERE, "--json").out)
    assert [one["name"] for one in document["programs"]] == [
        line.rpartition("/")[2] for line in done.out.splitlines() if line.startswith("/")
    ]


def test_scripts_are_alone_on_stdout(drillctl: Callable[..., Ended], inventory_file: Path) -> None:
    for words in (("install-script", "gateway"), ("remove-script", "a-1")):
        done = drillctl("privileges", *words, *HERE)
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith("#!/bin/sh\n")
        assert subprocess.run(["sh", "-n"], input=done.out, text=True, check=False).returncode == 0
    rules = drillctl("privileges", "sudoers", "gateway", *HERE)
    assert rules.out.endswith("drill ALL = (root) NOPASSWD: DRILLCTL\n")


def test_a_host_that_needs_no_root_is_told_so(
    drillctl: Callable[..., Ended], inventory_file: Path, process_text: str
) -> None:
    inventory_file.write_text(process_text)
    done = drillctl("privileges", "install-script", "a-1", *HERE)
    assert (done.code, done.out) == (0, "")
    assert done.err == "drillctl needs no root on a-1: nothing is to be installed there.\n"


def test_a_host_that_is_not_there_is_named_with_those_that_are(
    drillctl: Callable[..., Ended], inventory_file: Path
) -> None:
    done = drillctl("privileges", "show", "a-2", *HERE)
    assert (done.code, done.out) == (2, "")
    assert "no host `a-2`" in done.err
    assert "gateway, a-1, b-1" in done.err


def test_a_host_that_cannot_be_asked_is_a_problem(drillctl: Callable[..., Ended], inventory_file: Path) -> None:
    text = inventory_file.read_text()
    for address in ("10.0.0.1", "10.0.1.1", "10.0.2.1"):
        text = text.replace(f"address: {address}", f"address: 127.9.{address[5:]}")
    inventory_file.write_text(text + "  port: 1\n")
    done = drillctl("privileges", "check", *HERE, "--json")
    assert done.code == 4
    document = json.loads(done.out)
    assert document["ok"] is False
    assert all("cannot be reached by SSH" in host["problem"] for host in document["hosts"])
