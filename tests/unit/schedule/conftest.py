"""A drill by the clock whose paths hold everything that some format gives a meaning to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drillctl.schedule import expression
from drillctl.schedule.job import Job

if TYPE_CHECKING:
    from collections.abc import Callable

ODD = """/srv/our drills/100% "real" $HOME `id` 'it''s' #1 ${{ github.token }} 演练.yaml"""


@pytest.fixture
def odd() -> str:
    return ODD


@pytest.fixture
def make_job() -> Callable[..., Job]:
    def make(when: str = "0 3 * * 1", **more: object) -> Job:
        about = {"program": "/bin/echo", "playbook": ODD, "inventory": "/etc/drillctl/inventory.yaml", **more}
        return Job("shop", "loss-of-zone", expression.parse(when), **about)  # type: ignore[arg-type]

    return make
