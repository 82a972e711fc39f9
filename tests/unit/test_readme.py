"""What the README shows must work as it stands."""

from __future__ import annotations

import re
from pathlib import Path

from drillctl import inventory
from drillctl.verdict import EXIT_CODES

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


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
        assert (Path(__file__).resolve().parents[2] / target).exists(), target
