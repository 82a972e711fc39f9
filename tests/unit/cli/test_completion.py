"""What the shell is offered at Tab."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Ended

PROGRAM = "import sys; sys.argv[0] = 'drillctl'; from drillctl.__main__ import main; main()"


def offered(drillctl: Callable[..., Ended], line: str) -> list[str]:
    """Return what bash is offered for the last word of a line, which an ending blank makes an empty one."""
    words = line.split(" ")
    ended = drillctl(
        python=("-c", PROGRAM), _DRILLCTL_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1)
    )
    return ended.out.split()


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("drillctl run zone-f", ["zone-failover"]),
        ("drillctl validate gateway-", ["gateway-passive", "gateway-restart"]),
        ("drillctl schedule planned", ["planned-switchover"]),
        ("drillctl run ./zone", []),
        ("drillctl switch zone-", ["zone-a", "zone-b"]),
        ("drillctl switch -i inventory.yaml st", ["standby"]),
        ("drillctl switch -i nowhere.yaml zone-", []),
        ("drillctl privileges show ", ["gateway", "a-1", "b-1"]),
        ("drillctl report 2026", ["20260102T000000Z-x-0000", "20260101T000000Z-x-0000"]),
        ("drillctl recover 20260101", ["20260101T000000Z-x-0000"]),
    ],
)
def test_names_that_are_known_are_offered(
    drillctl: Callable[..., Ended], inventory_file: Path, tmp_path: Path, line: str, names: list[str]
) -> None:
    for day in (1, 2):
        (tmp_path / f"state/runs/2026010{day}T000000Z-x-0000").mkdir(parents=True)
    assert offered(drillctl, line) == names


def test_without_an_inventory_nothing_is_offered_and_nothing_said(drillctl: Callable[..., Ended]) -> None:
    assert offered(drillctl, "drillctl switch zo") == []
