"""The README's example estate with installed programs, and the shells in which they must work."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drillctl import inventory as inventories
from drillctl.inventory import Nginx

if TYPE_CHECKING:
    from drillctl.inventory import Inventory

KINDS = ("nginx", "nginx-flag", "nginx-passive", "haproxy")
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


@pytest.fixture
def kinds(example: Inventory, tmp_path: Path) -> dict[str, Inventory]:
    """The example with a gateway of each kind."""
    found = {}
    text = (tmp_path / "inventory.yaml").read_text(encoding="utf-8")
    options = example.gateway
    assert isinstance(options, Nginx)
    for kind in KINDS:
        own = text.replace("gateway:\n", f"gateway:\n  kind: {kind}\n", 1)
        if kind == "haproxy":
            own = re.sub(r"\n  (config|reload|test|access_log|error_log|pidfile): .*", "", own)
            own = own.replace(f"  upstream: {options.upstream}", f"  backend: {options.upstream}")
        file = tmp_path / f"{kind}.yaml"
        file.write_text(own, encoding="utf-8")
        found[kind] = inventories.load(file)
    return found


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    """Every shell that a host may have as /bin/sh and that is here."""
    return shlex.split(request.param)
