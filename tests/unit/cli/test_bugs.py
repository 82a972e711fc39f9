"""A bug in drillctl: told in words, its traceback in a file, or on the screen for who asks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drillctl.__main__ import global_first

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Ended

BUG = """
import sys
from drillctl import inventory
from drillctl.__main__ import main

def load(path):
    raise ZeroDivisionError("a bug [red]in drillctl")

inventory.load = load
sys.argv = ["drillctl", *sys.argv[1:]]
main()
"""


def test_a_bug_is_told_without_a_traceback_which_a_file_has(
    drillctl: Callable[..., Ended], inventory_file: Path, tmp_path: Path
) -> None:
    ended = drillctl("validate", "-i", "inventory.yaml", python=("-c", BUG))
    assert ended.code == 70
    assert ended.quiet
    assert ended.err.startswith("bug: ZeroDivisionError: a bug [red]in drillctl\n")
    file = Path(ended.err.splitlines()[-1].removeprefix("next:  report it with the traceback in "))
    assert file.parent == tmp_path / "state/bugs"
    assert "ZeroDivisionError: a bug [red]in drillctl" in file.read_text()


def test_debug_shows_the_traceback_and_keeps_the_exit_code(
    drillctl: Callable[..., Ended], inventory_file: Path
) -> None:
    ended = drillctl("--debug", "validate", "-i", "inventory.yaml", python=("-c", BUG))
    assert ended.code == 70
    assert "Traceback (most recent call last)" in ended.err
    for words in (("--debug", "run", "nope"), ("run", "--debug", "nope"), ("run", "nope", "--debug")):
        refused = drillctl(*words)
        assert refused.code == 2
        assert "error: there is no built-in playbook `nope`\n" in refused.err
        assert "Traceback (most recent call last)" in refused.err


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        ("run x --no-color --debug", "--debug --no-color run x"),
        ("lab ssh gateway ls --debug", "lab ssh gateway ls --debug"),
        ("run -- --debug", "run -- --debug"),
        ("--debug run", "--debug run"),
        ("run --debugger", "run --debugger"),
        ("", ""),
    ],
)
def test_options_of_all_commands_may_follow_the_command(words: str, taken: str) -> None:
    assert global_first(words.split()) == taken.split()
