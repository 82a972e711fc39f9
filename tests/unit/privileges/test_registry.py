"""Whatever drillctl runs as root has a program, or a reason why it needs none."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest

import drillctl
from drillctl.faults import KINDS
from drillctl.gateway import flag, haproxy_scripts, nginx_scripts
from drillctl.guard import client
from drillctl.hosts import process, transport
from drillctl.inventory import InstalledFault
from drillctl.privileges import registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from drillctl.inventory import Inventory

WITHOUT = {
    client._TAKE: "an administrator installs the guard",
    client._SHOW: "the guard's entry does it",
    process._STATE: "a process is the user's own",
    process._START: "a process is the user's own",
    process._STOP: "a process is the user's own",
    process._KILL: "a process is the user's own",
    nginx_scripts.RESOLVE: "only the tree of copies needs it, which installed programs do without",
    transport._REPLACE: "nothing calls it for root",
}
"""Scripts that some caller runs as root, and why `privileges: installed` can do without a program for each."""

PROJECT = Path(drillctl.__file__).parent


def privileged_scripts() -> Iterator[tuple[str, str]]:
    """Yield where a script of a constant text is run as root, and the text."""
    for file in sorted(PROJECT.rglob("*.py")):
        name = ".".join(("drillctl", *file.relative_to(PROJECT).with_suffix("").parts)).removesuffix(".__init__")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "script"):
                continue
            if not any(word.arg == "privileged" for word in node.keywords) or len(node.args) < 2:
                continue
            source = eval_constant(name, node.args[1])
            if source is not None:
                yield f"{name}:{node.lineno}", source


def eval_constant(module: str, node: ast.expr) -> str | None:
    """Return the text that a name, or a name of a module, stands for; None for a variable."""
    found: object = importlib.import_module(module)
    words = ast.unparse(node).split(".")
    for word in words:
        found = getattr(found, word, None)
    return found if isinstance(found, str) else None


def known(kinds: dict[str, Inventory]) -> set[str]:
    """Return the texts of all programs of estates that allow every fault, with a gateway of each kind."""
    allowing = [estate.model_copy(update={"faults": get_args(InstalledFault)}) for estate in kinds.values()]
    return {
        program.source for estate in allowing for host in estate.hosts for program in registry.programs(estate, host)
    }


def test_every_script_for_root_has_a_program(kinds: dict[str, Inventory]) -> None:
    """When this fails for a script of yours: drillctl/privileges/registry.py says what to do."""
    scripts = dict(privileged_scripts())
    assert len(scripts) >= 8, "the search finds none any more"
    sources = known(kinds) | WITHOUT.keys()
    assert [where for where, source in scripts.items() if source not in sources] == []


@pytest.mark.parametrize("module", [nginx_scripts, flag, haproxy_scripts], ids=lambda module: module.__name__)
def test_every_script_of_the_gateways_has_a_program(kinds: dict[str, Inventory], module: ModuleType) -> None:
    """They are handed on by a variable, which the search above does not follow."""
    constants = {name: text for name, text in vars(module).items() if name.isupper() and isinstance(text, str)}
    assert len(constants) > 4
    no_scripts = {"IN_PLACE_STEPS", "LINE", "ABSENT", "ASK"} | {name for name in constants if name.startswith("_")}
    sources = known(kinds) | WITHOUT.keys()
    assert [name for name, text in constants.items() if name not in no_scripts and text not in sources] == []


def test_a_script_without_a_program_would_be_found(
    kinds: dict[str, Inventory], monkeypatch: pytest.MonkeyPatch
) -> None:
    left_out = registry._of_zone_host

    def without_kill(*arguments: object) -> list[object]:
        return [one for one in left_out(*arguments) if one.name != "service-kill"]  # type: ignore[arg-type]

    monkeypatch.setattr(registry, "_of_zone_host", without_kill)
    with pytest.raises(AssertionError, match=r"drillctl\.hosts\.systemd"):
        test_every_script_for_root_has_a_program(kinds)


def test_every_fault_can_be_allowed_but_those_that_need_nothing_or_anything() -> None:
    assert {*get_args(InstalledFault), "kill", "stop", "command"} == set(KINDS)


def test_no_systemctl_shows_its_answer_in_a_pager(kinds: dict[str, Inventory]) -> None:
    """What is within `$(…)` or before a `|` is not at a terminal."""
    lines = [line.strip() for source in known(kinds) for line in source.splitlines()]
    shown = [line for line in lines if line.startswith(("systemctl show", "systemctl status", "journalctl"))]
    assert shown == []
    assert any(line.startswith("systemctl --no-pager show") for line in lines)
    assert all("--no-pager" in source for source in known(kinds) if "journalctl" in source)


def test_a_fault_that_is_not_allowed_has_no_program(example: Inventory) -> None:
    names = {program.name for host in example.hosts for program in registry.programs(example, host)}
    assert not any(name.startswith("fault-") for name in names)


def test_nothing_is_excused_that_has_a_program(kinds: dict[str, Inventory]) -> None:
    assert not known(kinds) & WITHOUT.keys()


def test_roles_that_are_exchanged_for_a_run_change_no_program(kinds: dict[str, Inventory]) -> None:
    """Programs are installed once, and `drillctl switch` may lead to either zone."""
    for estate in kinds.values():
        turned = estate.turned()
        for host in estate.hosts:
            texts = [[one.text for one in registry.programs(inventory, host)] for inventory in (estate, turned)]
            assert texts[0] == texts[1]


def test_the_gateways_own_unit_is_the_one_that_may_be_restarted(kinds: dict[str, Inventory]) -> None:
    for kind, estate in kinds.items():
        allowing = estate.model_copy(update={"faults": ("gateway-restart",)})
        texts = {one.name: one.text for one in registry.programs(allowing, allowing.gateway.hosts[0])}
        unit = "haproxy.service" if kind == "haproxy" else "nginx.service"
        for name in ("fault-gateway-restart", "guard"):
            assert unit in texts[name]
            assert ("nginx.service" in texts[name]) == (unit == "nginx.service")
