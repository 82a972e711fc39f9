"""What the README and the pages beside it show must work as it stands."""

from __future__ import annotations

import re
from pathlib import Path

from drillctl import inventory
from drillctl.verdict import EXIT_CODES

PROJECT = Path(__file__).resolve().parents[2]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
PAGES = "\n".join([README, *(page.read_text(encoding="utf-8") for page in sorted((PROJECT / "docs").glob("*.md")))])


def test_the_inventory_in_the_readme_is_valid(tmp_path: Path) -> None:
    found = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert found is not None
    path = tmp_path / "inventory.yaml"
    path.write_text(found[1], encoding="utf-8")
    assert inventory.load(path).zone("primary").name == "hangzhou-h"


def test_the_readme_names_every_verdict_with_its_exit_code() -> None:
    for verdict, code in EXIT_CODES.items():
        assert re.search(rf"^\| {code} \| {verdict} \|", README, re.MULTILINE), verdict


def test_every_page_that_the_readme_links_to_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (PROJECT / target).exists(), target


def test_every_benchmark_and_every_goal_of_make_that_a_page_names_is_there() -> None:
    benchmarks = set(re.findall(r"\bbenchmarks[./]([a-z_]+)", PAGES))
    assert benchmarks
    assert {name for name in benchmarks if not (PROJECT / f"benchmarks/{name}.py").exists()} == set()
    goals = set(re.findall(r"`make ([a-z-]+)", PAGES))
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    assert {goal for goal in goals if not re.search(rf"^{goal}:", makefile, re.MULTILINE)} == set()
