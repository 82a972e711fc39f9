"""Objectives that compare a run with those before it: their place in a playbook, and their judgement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from drillctl.errors import DrillctlError, UsageError
from drillctl.fields import Part
from drillctl.history import rule as rules
from drillctl.history.record import REGRESSION
from drillctl.verdict import Objective

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

    from drillctl.history.record import RunRecord
    from drillctl.inventory import Inventory


def _readable(text: str) -> str:
    try:
        rules.parse(text)
    except rules.RuleError as error:
        raise ValueError(f"the rule `{text}` cannot be read at its {error}") from None
    return text


class Regression(Part):
    """A rule that a run fails by, and how many comparable runs the history must have for it to be judged.

    In a playbook the rule alone will do. Comparable are runs of the same playbook on the same inventory that came to
    their end with every objective met.
    """

    fail_if: Annotated[str, AfterValidator(_readable)]
    min: Annotated[int, Field(strict=True, ge=1, le=rules.MAX_WINDOW)] = 3

    @model_validator(mode="before")
    @classmethod
    def _rule_alone(cls, value: Any) -> Any:
        return {"fail_if": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema for editors: the rule alone, or with its minimum."""
        return {"anyOf": [{"type": "string"}, handler.resolve_ref_schema(handler(schema))]}


@dataclass(frozen=True)
class Past:
    """The comparable runs before this one, the newest first; `trouble` says why they could not be read."""

    runs: tuple[RunRecord, ...] = ()
    trouble: str | None = None


def read_past(
    inventory: Inventory, playbook: str, regressions: Sequence[Regression], say: Callable[[str], None]
) -> Past:
    """Return the runs that the regressions look back to; what keeps them from being read is said, and in it."""
    if not regressions:
        return Past()
    # A metric may not have been measured in each run.
    limit = 2 * max(rules.parse(one.fail_if).window() for one in regressions)
    try:
        from drillctl.history.store import History

        with History.open(inventory=inventory) as history:
            return Past(tuple(history.runs(inventory.name, playbook, limit, comparable=True)))
    except DrillctlError as error:
        say(f"the regressions cannot be judged, so this drill cannot pass: {error}")
        return Past(trouble=str(error))


def objectives(regressions: Iterable[Regression], now: Mapping[str, float | None], past: Past) -> list[Objective]:
    """Return an objective for each regression; `now` are the metrics of the run that is judged."""
    return [_objective(one, now, past) for one in regressions]


def _objective(one: Regression, now: Mapping[str, float | None], past: Past) -> Objective:
    rule = rules.parse(one.fail_if)
    name = f"{REGRESSION}: {', '.join(rule.metrics()) or 'history'}"
    said = f"fails if {one.fail_if}"
    if past.trouble is not None and rule.window():
        return Objective(name, said, f"not measured: {past.trouble}", met=None)
    fails, measured = rule.judge(now, [run.metrics() for run in past.runs], one.min)
    if fails is None:
        return Objective(name, said, f"not measured: {measured}", met=None)
    return Objective(name, said, measured, met=not fails)


def from_flags(texts: Sequence[str]) -> tuple[Regression, ...]:
    """Return the regressions of `--fail-if`. Raises UsageError with the column and a mark below it."""
    for text in texts:
        try:
            rules.parse(text)
        except rules.RuleError as error:
            raise UsageError(
                f"--fail-if cannot be read at column {error.column}: {error.reason}\n"
                f"  {text}\n  {' ' * (error.column - 1)}^",
                hint="for example --fail-if 'recovery_time > 1.25 * p50(last 10)'; docs/history.md has the grammar",
                state="nothing was changed",
            ) from None
    return tuple(Regression(fail_if=text) for text in texts)
