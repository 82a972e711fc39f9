"""Runs that have ended: told in letters (tests/support/told.py), or recorded from a real drill."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from told import PASSED, RECORDED, Told

from drillctl.report import stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.report.stored import StoredRun
    from drillctl.run import Run


@pytest.fixture(scope="session")
def recorded() -> StoredRun:
    """Return the recorded run."""
    return stored.read(RECORDED)


@pytest.fixture
def tell(make_run: Callable[..., Run]) -> Callable[..., Told]:
    """Return a function that tells a run in letters."""
    return lambda letters=PASSED: Told(make_run(), letters)
