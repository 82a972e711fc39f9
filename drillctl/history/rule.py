"""The rules that compare a run with those before it, as in `recovery_time > 1.25 * p50(last 10)` (pure).

    rule        = term { "or" term }
    term        = comparison { "and" comparison }
    comparison  = sum [ ( ">" | ">=" | "<" | "<=" | "==" | "!=" ) sum ]
    sum         = product { ( "+" | "-" ) product }
    product     = factor { ( "*" | "/" ) factor }
    factor      = [ "-" ] ( NUMBER [ "s" | "ms" ] | METRIC | past | "(" rule ")" )
    past        = ( "mean" | "min" | "max" | "p1" … "p99" ) "(" [ METRIC "," ] "last" COUNT ")"

A rule says when a run fails. Times are in seconds. `p50(last 10)` is of the metric that the comparison names, if it
names just one. Nothing is evaluated but this: there is no way from a rule to Python.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from drillctl.history.metric import METRICS
from drillctl.history.percentile import percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Values = Mapping[str, float | None]

MAX_LENGTH = 500
MAX_WINDOW = 1000
_MAX_DEPTH = 30
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?|\.\d+)(?P<unit>ms|s)?(?![\w.])|(?P<word>[A-Za-z_]\w*)"
    r"|(?P<sign>>=|<=|==|!=|[-+*/()<>,])|(?P<end>$))"
)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


class RuleError(ValueError):
    """A rule that cannot be read; `column` counts from 1."""

    def __init__(self, column: int, reason: str) -> None:
        super().__init__(f"column {column}: {reason}")
        self.column = column
        self.reason = reason


class NotMeasured(Exception):
    """A rule cannot be decided, and why."""


@dataclass(frozen=True)
class Number:
    """A number as written, times in seconds."""

    value: float


@dataclass(frozen=True)
class Now:
    """A metric of the run that is judged."""

    metric: str


@dataclass(frozen=True)
class Past:
    """One figure over a metric of the last runs that may be compared: `mean`, `min`, `max`, or `p` and a number."""

    function: str
    metric: str
    window: int

    @property
    def said(self) -> str:
        """Return it as it is written in full."""
        return f"{self.function}({self.metric}, last {self.window})"


@dataclass(frozen=True)
class Both:
    """Two parts and what joins them: arithmetic, a comparison, or `and` and `or`."""

    sign: str
    left: Node
    right: Node


Node = Number | Now | Past | Both
Kind = Literal["number", "truth"]


@dataclass(frozen=True)
class Rule:
    """A rule as text and as a tree."""

    text: str
    tree: Node

    def metrics(self) -> list[str]:
        """Return the metrics of the judged run that it names, in their order."""
        return list(dict.fromkeys(node.metric for node in _leaves(self.tree) if isinstance(node, Now)))

    def window(self) -> int:
        """Return how many runs it looks back at most."""
        return max((node.window for node in _leaves(self.tree) if isinstance(node, Past)), default=0)

    def judge(self, now: Values, past: Sequence[Values], minimum: int) -> tuple[bool | None, str]:
        """Return whether the run fails by it (None: it cannot be decided), and the figures that it was decided by.

        `past` are the runs that may be compared, the newest first. Where fewer than `minimum` of them have the metric
        (or than the rule looks back to), it is not decided.
        """
        said: list[str] = []
        for metric in self.metrics():
            value = now.get(metric)
            said.append(f"{metric} {'not measured' if value is None else METRICS[metric].said(value)}")
        figures: dict[Past, float | str] = {}
        for node in _leaves(self.tree):
            if isinstance(node, Past) and node not in figures:
                values = [value for run in past if (value := run.get(node.metric)) is not None][: node.window]
                needed = min(minimum, node.window)
                if len(values) < needed:
                    figures[node] = f"{node.said} needs {needed} comparable runs, the history has {len(values)}"
                    said.append(str(figures[node]))
                    continue
                figures[node] = figure = _aggregate(node.function, values)
                runs = "1 run" if len(values) == 1 else f"{len(values)} runs"
                said.append(f"{node.said} = {METRICS[node.metric].said(figure)} ({runs})")
        try:
            fails = _truth(self.tree, now, figures)
        except NotMeasured as error:
            if str(error) and not any(str(error) in one for one in said):
                said.append(str(error))
            fails = None
        return fails, "; ".join(said)


def parse(text: str) -> Rule:
    """Return a rule. Raises RuleError with column and reason."""
    if len(text) > MAX_LENGTH:
        raise RuleError(MAX_LENGTH + 1, f"a rule has at most {MAX_LENGTH} characters")
    return Rule(text, _Parser(text).rule())


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    column: int
    value: float = 0.0


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    place = 0
    while True:
        match = _TOKEN.match(text, place)
        if match is None:
            column = place + len(text[place:]) - len(text[place:].lstrip())
            raise RuleError(column + 1, f"`{text[column : column + 10].split()[0]}` means nothing here")
        kind = next(name for name in ("number", "word", "sign", "end") if match[name] is not None)
        value = float(match["number"]) / (1000 if match["unit"] == "ms" else 1) if kind == "number" else 0.0
        found.append(_Token(kind, match[kind], match.start(kind) + 1, value))
        if kind == "end":
            return found
        place = match.end()


class _Parser:
    """A parser by recursive descent; each method reads one line of the grammar above and returns node and kind."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._place = 0
        self._depth = 0
        # Calls like p50(last 10) whose metric the comparison around them will tell.
        self._open: list[tuple[_Token, str, int]] = []

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self) -> _Token:
        token = self._next
        self._place += token.kind != "end"
        return token

    def _at(self, *texts: str) -> bool:
        return self._next.kind in {"sign", "word"} and self._next.text in texts

    def _expect(self, text: str, why: str) -> None:
        if not self._at(text):
            raise RuleError(self._next.column, f"`{text}` is missing {why}, {self._found()}")
        self._take()

    def _found(self) -> str:
        return "the rule ends here" if self._next.kind == "end" else f"`{self._next.text}` stands here"

    def rule(self) -> Node:
        start = self._next
        node, kind = self._joined(("or",), lambda: self._joined(("and",), self._comparison))
        if self._next.kind != "end":
            raise RuleError(self._next.column, f"`{self._next.text}` is too much: the rule is complete before it")
        if kind != "truth":
            raise RuleError(start.column, "a rule compares, as in `recovery_time > 1.25 * p50(last 10)`")
        if not any(isinstance(leaf, Now) for leaf in _leaves(node)):
            raise RuleError(start.column, f"the rule names no metric of the run ({', '.join(METRICS)})")
        return node

    def _joined(self, words: tuple[str, ...], part: Callable[[], tuple[Node, Kind]]) -> tuple[Node, Kind]:
        start = self._next
        node, kind = part()
        while self._at(*words):
            sign = self._take()
            second = self._next
            right, right_kind = part()
            for token, one in ((start, kind), (second, right_kind)):
                if one != "truth":
                    raise RuleError(token.column, f"`{sign.text}` joins comparisons, and this is a number")
            node, kind = Both(sign.text, node, right), "truth"
        return node, kind

    def _comparison(self) -> tuple[Node, Kind]:
        opened, start = len(self._open), self._next
        node, kind = self._arithmetic(("+", "-"), lambda: self._arithmetic(("*", "/"), self._factor))
        if not self._at(*_COMPARE):
            return node, kind
        sign = self._take()
        second = self._next
        right, right_kind = self._arithmetic(("+", "-"), lambda: self._arithmetic(("*", "/"), self._factor))
        self._numbers(sign, (start, kind), (second, right_kind))
        if self._at(*_COMPARE):
            raise RuleError(self._next.column, "comparisons do not follow each other; join them by `and`")
        both = Both(sign.text, node, right)
        return self._named(both, opened), "truth"

    def _named(self, node: Both, opened: int) -> Both:
        """Return a comparison whose calls into the past all name their metric."""
        calls, self._open = self._open[opened:], self._open[:opened]
        if not calls:
            return node
        metrics = {leaf.metric for leaf in _leaves(node) if isinstance(leaf, Now)}
        if len(metrics) != 1:
            call, function, window = calls[0]
            raise RuleError(
                call.column,
                f"of which metric? The comparison names {'several' if metrics else 'none'}: "
                f"write {function}(METRIC, last {window})",
            )
        filled = _filled(node, metrics.pop())
        assert isinstance(filled, Both)  # noqa: S101 - filling changes leaves only
        return filled

    def _arithmetic(self, signs: tuple[str, ...], part: Callable[[], tuple[Node, Kind]]) -> tuple[Node, Kind]:
        start = self._next
        node, kind = part()
        while self._at(*signs):
            sign = self._take()
            second = self._next
            right, right_kind = part()
            self._numbers(sign, (start, kind), (second, right_kind))
            node = Both(sign.text, node, right)
        return node, kind

    def _numbers(self, sign: _Token, *sides: tuple[_Token, Kind]) -> None:
        for token, kind in sides:
            if kind != "number":
                raise RuleError(token.column, f"`{sign.text}` wants numbers, and this is a comparison")

    def _factor(self) -> tuple[Node, Kind]:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise RuleError(self._next.column, "it is nested too deeply")
        try:
            return self._leaf()
        finally:
            self._depth -= 1

    def _leaf(self) -> tuple[Node, Kind]:
        token = self._next
        if self._at("-"):
            self._take()
            node, kind = self._factor()
            self._numbers(token, (token, kind))
            return Both("-", Number(0.0), node), "number"
        if self._at("("):
            self._take()
            inner = self._joined(("or",), lambda: self._joined(("and",), self._comparison))
            self._expect(")", f"for the `(` at column {token.column}")
            return inner
        if token.kind == "number":
            return Number(self._take().value), "number"
        if token.kind == "word" and token.text in METRICS:
            return Now(self._take().text), "number"
        if token.kind == "word" and re.fullmatch(r"mean|min|max|p[1-9]\d?", token.text):
            return self._past(), "number"
        if token.kind == "word":
            raise RuleError(
                token.column,
                f"`{token.text}` is neither a metric ({', '.join(METRICS)}) nor one of mean, min, max, p1 to p99",
            )
        raise RuleError(token.column, f"a number, a metric or `p50(last 10)` is missing, {self._found()}")

    def _past(self) -> Past:
        call = self._take()
        function, metric = call.text, ""
        self._expect("(", f"after `{function}`")
        if not self._at("last"):
            named = self._take()
            if named.text not in METRICS:
                raise RuleError(named.column, f"`last COUNT` is missing, or a metric ({', '.join(METRICS)})")
            metric = named.text
            self._expect(",", "between metric and `last`")
        self._expect("last", "before the number of runs")
        count = self._take()
        if count.kind != "number" or not re.fullmatch(r"\d{1,4}", count.text) or not 1 <= count.value <= MAX_WINDOW:
            raise RuleError(count.column, f"a whole number of runs from 1 to {MAX_WINDOW} is missing after `last`")
        self._expect(")", f"after `last {count.text}`")
        window = int(count.text)
        if not metric:
            self._open.append((call, function, window))
        return Past(function, metric, window)


def _leaves(node: Node) -> list[Number | Now | Past]:
    return [*_leaves(node.left), *_leaves(node.right)] if isinstance(node, Both) else [node]


def _filled(node: Node, metric: str) -> Node:
    if isinstance(node, Both):
        return Both(node.sign, _filled(node.left, metric), _filled(node.right, metric))
    if isinstance(node, Past) and not node.metric:
        return Past(node.function, metric, node.window)
    return node


def _aggregate(function: str, values: list[float]) -> float:
    if function == "mean":
        return sum(values) / len(values)
    if function in {"min", "max"}:
        return min(values) if function == "min" else max(values)
    return percentile(values, int(function[1:]))


def _truth(node: Node, now: Values, figures: Mapping[Past, float | str]) -> bool:
    """Decide a comparison, or several; one that is not measured does not matter where the other one decides alone."""
    if not isinstance(node, Both):
        raise TypeError("a number is no truth")
    if node.sign not in {"and", "or"}:
        return _COMPARE[node.sign](_value(node.left, now, figures), _value(node.right, now, figures))
    decides = node.sign == "or"
    unknown: NotMeasured | None = None
    for side in (node.left, node.right):
        try:
            if _truth(side, now, figures) is decides:
                return decides
        except NotMeasured as error:
            unknown = unknown or error
    if unknown is not None:
        raise unknown
    return not decides


def _value(node: Node, now: Values, figures: Mapping[Past, float | str]) -> float:
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Now):
        value = now.get(node.metric)
        if value is None:
            raise NotMeasured(f"{node.metric} not measured")
        return value
    if isinstance(node, Past):
        figure = figures[node]
        if isinstance(figure, str):
            raise NotMeasured(figure)
        return figure
    left, right = _value(node.left, now, figures), _value(node.right, now, figures)
    if node.sign == "/" and right == 0:
        raise NotMeasured("a division by zero")
    operations = {"+": left + right, "-": left - right, "*": left * right}
    return operations[node.sign] if node.sign in operations else left / right
