"""Whatever people write, it is loaded or refused with places: never a traceback, never a run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from drillctl import inventory as inventories
from drillctl import playbook as playbooks
from drillctl.errors import FileError
from drillctl.plan import make_plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 10**6), st.floats(allow_nan=True), st.text(max_size=12),
    st.sampled_from(["${rate}", "${nothing}", "$${x}", "primary", "both", "kill", "hang", "../etc", "a\nb", "\x00"]),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
PLACE = re.compile(r"(.*:\d+:\d+: .+|--var .+)", re.DOTALL)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of everything in a document."""
    found = [path] if path else []
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        found += places(value, (*path, key))
    return found


def mutate(document: Any, data: st.DataObject) -> Any:
    """Replace, remove, rename or repeat something, one to three times."""
    for _ in range(data.draw(st.integers(1, 3))):
        known = places(document)
        if not known:
            return document
        *above, last = data.draw(st.sampled_from(known))
        parent = document
        for key in above:
            parent = parent[key]
        how = data.draw(st.sampled_from(["replace", "remove", "rename", "repeat"]))
        if how == "replace":
            parent[last] = data.draw(VALUES)
        elif how == "remove":
            del parent[last]
        elif how == "rename" and isinstance(parent, dict):
            parent[data.draw(st.text(max_size=10))] = parent.pop(last)
        elif isinstance(parent, list):
            parent.insert(last, parent[last])
    return document


def write(path: Path, document: Any) -> None:
    yaml = YAML(typ="safe", pure=True)
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)


def loaded(load: Callable[[Path], T], path: Path) -> T | None:
    """Load a file; None when it is refused, which must name places."""
    problems: list[str] = []
    try:
        return load(path)
    except FileError as error:
        problems = error.problems
    assert problems
    assert [problem for problem in problems if not PLACE.fullmatch(problem)] == []
    return None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(sorted(playbooks.builtin())))
def test_a_mutated_playbook_is_a_playbook_or_is_refused_with_places(
    tmp_path: Path, data: st.DataObject, name: str
) -> None:
    source = playbooks.builtin()[name]
    document = YAML(typ="safe", pure=True).load(source)
    document["traffic"]["images"] = str(source.parent / "images")
    path = tmp_path / "mutated.yaml"
    write(path, mutate(document, data))
    book = loaded(playbooks.load, path)
    if book is not None:
        assert playbooks.contradictions(book) == []


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_inventory_is_an_inventory_or_is_refused_with_places(
    tmp_path: Path, data: st.DataObject, inventory_text: str
) -> None:
    path = tmp_path / "mutated.yaml"
    write(path, mutate(YAML(typ="safe", pure=True).load(inventory_text), data))
    estate = loaded(inventories.load, path)
    if estate is not None:
        for book in map(playbooks.load, playbooks.builtin().values()):
            assert make_plan(estate, book).steps
