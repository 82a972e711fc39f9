"""The JSON Schema of playbooks and inventories, made from the models that check them (pure)."""

from __future__ import annotations

from typing import Any

from drillctl.inventory import Inventory
from drillctl.playbook import Playbook
from drillctl.template import STEPS

_DRAFT = "https://json-schema.org/draft/2020-12/schema"

_REFERENCE = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"}
"""Wherever a value may stand, a variable may stand for it."""


def of_playbook() -> dict[str, Any]:
    """Return the schema of a playbook as people write it: with variables, includes and conditions."""
    schema = Playbook.model_json_schema(by_alias=True)
    schema = {key: _with_variables(value) if key in ("properties", "$defs") else value for key, value in schema.items()}
    properties = schema["properties"]
    properties["variables"] = {
        "type": "object",
        "description": "Variables with their values; `--var NAME=VALUE` changes one, `${NAME}` stands for it.",
        "additionalProperties": {"type": ["string", "number", "boolean"]},
    }
    for definition in schema["$defs"].values():
        if "step" in definition.get("properties", {}):
            definition["properties"]["when"] = {
                "type": ["string", "boolean"],
                "description": "NAME, not NAME, NAME == VALUE or NAME != VALUE: else the step is left out.",
            }
            # A fault without the word is a kill; every other kind of step is told by its words.
            own = ("step", "fault") if definition["properties"].get("fault", {}).get("const") != "kill" else ("step",)
            required = set(definition.get("required", [])) | (set(own) & set(definition["properties"]))
            definition["required"] = sorted(required)
    include = {
        "type": "object",
        "description": "A file with a list of steps, put in here.",
        "properties": {"include": {"type": "string"}, "when": {"type": ["string", "boolean"]}},
        "required": ["include"],
        "additionalProperties": False,
    }
    for name in STEPS:
        properties[name]["items"] = {"anyOf": [*_choices(properties[name]["items"]), include]}
    return {"$schema": _DRAFT, "title": "drillctl playbook", **{k: v for k, v in schema.items() if k != "title"}}


def of_inventory() -> dict[str, Any]:
    """Return the schema of an inventory."""
    schema = Inventory.model_json_schema(by_alias=True)
    return {"$schema": _DRAFT, "title": "drillctl inventory", **{k: v for k, v in schema.items() if k != "title"}}


def _choices(items: dict[str, Any]) -> list[dict[str, Any]]:
    return list(items.get("oneOf") or items.get("anyOf") or [items])


def _with_variables(node: Any) -> Any:
    """Return a schema in which every number, truth value and choice of words may also be a variable."""
    if isinstance(node, list):
        return [_with_variables(item) for item in node]
    if not isinstance(node, dict):
        return node
    inner = {key: _with_variables(value) for key, value in node.items()}
    if inner.get("type") in ("number", "integer", "boolean") or ("enum" in inner and "const" not in inner):
        kept = {key: inner.pop(key) for key in ("title", "description", "default") if key in inner}
        return {**kept, "anyOf": [inner, _REFERENCE]}
    return inner
