"""`drillctl schema`: the JSON Schema of playbooks and inventories, by which editors complete and check them."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated

import typer


class Kind(StrEnum):
    """Of which files."""

    playbook = "playbook"
    inventory = "inventory"


def schema(
    kind: Annotated[Kind, typer.Argument(help="Of which files.")] = Kind.playbook,
) -> None:
    """Print the JSON Schema (draft 2020-12). In an editor: `# yaml-language-server: $schema=playbook.schema.json`."""
    from drillctl.schema import of_inventory, of_playbook

    document = of_playbook() if kind is Kind.playbook else of_inventory()
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
