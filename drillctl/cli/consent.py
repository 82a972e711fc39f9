"""Whether a person agrees to a drill: [y/N] for a lab or staging; for production the estate's name, typed or given."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.gates import Gate
    from drillctl.inventory import Inventory

T = TypeVar("T")


@dataclass(frozen=True)
class Consent:
    """What the command line says of it: `--yes`, and the name given with `--confirm`."""

    yes: bool = False
    confirm: str | None = None

    def check(self, estate: Inventory) -> None:
        """Raise UsageError when it names another estate, or is not enough and there is nobody to ask."""
        from drillctl.errors import UsageError

        production = estate.environment == "production"
        if self.confirm is not None and self.confirm != estate.name:
            raise UsageError(
                f"--confirm says `{self.confirm}`, but this estate is `{estate.name}`",
                hint="look at the plan: is it the estate that you mean?",
                state="nothing was changed",
            )
        if self.confirm is not None or (self.yes and not production) or _terminal():
            return
        if production:
            raise UsageError(
                "this estate is production, and there is no terminal to type its name on"
                + ("; --yes is not enough" if self.yes else ""),
                hint=f"say --confirm {estate.name} if that is the estate to drill",
                state="nothing was changed",
            )
        raise UsageError(
            "there is no terminal to ask on", hint="say --yes to drill without being asked", state="nothing was changed"
        )

    def ask(self, estate: Inventory, question: str = "") -> Gate:
        """Return the agreement, asking a person where the words of the command line are not enough.

        Raises NotStarted when that person does not agree.
        """
        if self.confirm is not None:
            return _gate(estate, f"--confirm {estate.name}")
        if estate.environment == "production":
            _typed(estate)
            return _gate(estate, "the name was typed")
        if self.yes:
            return _gate(estate, "--yes")
        ask(question or f"Drill {estate.name} ({estate.environment})?")
        return _gate(estate, "answered with yes")


def not_asked(estate: Inventory) -> Gate:
    """Return the agreement of a person who was not asked, because another gate is closed: it lets nothing through."""
    return _gate(estate, "not asked, since another gate is closed", passed=None)


def _gate(estate: Inventory, found: str, *, passed: bool | None = True) -> Gate:
    from drillctl.gates import AGREEMENT, Gate, agreement_rule

    return Gate(AGREEMENT, agreement_rule(estate), found, passed)


def _terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _typed(estate: Inventory) -> None:
    """Have the name typed, letter by letter as it is. Raises NotStarted for anything else."""
    from drillctl.errors import NotStarted

    question = f"{estate.name} is PRODUCTION. Type its name to go on"
    typed = _answer(lambda: str(typer.prompt(question, default="", show_default=False, err=True)), no="")
    if typed != estate.name:
        raise NotStarted(
            f"you typed `{typed}`, not `{estate.name}`" if typed else "you did not type its name",
            state="nothing was changed",
        )


def ask(question: str, state: str = "nothing was changed") -> None:
    """Ask a person. Raises NotStarted, with the state in which things are, unless the answer is yes."""
    from drillctl.errors import NotStarted

    if not _answer(lambda: typer.confirm(question, err=True), no=False):
        raise NotStarted("you said no", state=state)


def _answer(prompt: Callable[[], T], *, no: T) -> T:
    """Return the answer at a prompt; `no` at the end of the input (Ctrl-D) and at Ctrl-C, for nothing has begun."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return prompt()
    except typer.Abort:
        typer.echo(err=True)
        return no
    finally:
        signal.signal(signal.SIGINT, before)
