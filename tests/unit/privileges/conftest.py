"""The README's example estate with installed programs, and the shells in which they must work."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drillctl import inventory as inventories

if TYPE_CHECKING:
    from drillctl.inventory import Inventory

SHELLS = [shell for shell in ("dash", "busybox sh", "bash --posix") if shutil.which(shlex.split(shell)[0])]


@pytest.fixture
def example(tmp_path: Path) -> Inventory:
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    text = re.search(r"```yaml\n(.*?)```", readme, re.DOTALL)
    assert text is not None
    assert "privileges: installed" in text[1]
    file = tmp_path / "inventory.yaml"
    file.write_text(text[1], encoding="utf-8")
    return inventories.load(file)


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    """Every shell that a host may have as /bin/sh and that is here."""
    return shlex.split(request.param)
