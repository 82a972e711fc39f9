"""`drillctl lease break` from outside, where no host answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Ended


def test_that_no_host_holds_a_lease_is_not_said_when_none_can_be_asked(
    drillctl: Callable[..., Ended], dead_estate: Path
) -> None:
    ended = drillctl("lease", "break", "--id", "some-run", "--inventory", str(dead_estate))
    assert ended.code == 4, ended
    assert "no host that can be asked holds a lease of some-run; a-1, b-1, gateway could not be asked" in ended.err
