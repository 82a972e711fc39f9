"""`--var NAME=VALUE`: a playbook's variables on the command line."""

from __future__ import annotations

from typing import Annotated

import typer

VariablesOption = Annotated[
    list[str] | None,
    typer.Option("--var", metavar="NAME=VALUE", help="Set a variable of the playbook; may be given again."),
]


def given(words: list[str] | None) -> dict[str, str]:
    """Return the variables by name. Raises UsageError for a word that is no NAME=VALUE, or a name that comes twice."""
    from drillctl.errors import UsageError

    found: dict[str, str] = {}
    for word in words or []:
        name, equals, value = word.partition("=")
        if not equals or not name or name in found:
            why = "comes twice" if name in found else "is no NAME=VALUE"
            raise UsageError(f"--var {word}: {why}", state="nothing was changed")
        found[name] = value
    return found
