"""The rules' language: what it means, what it refuses and where, and that nothing else gets through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drillctl.history.metric import METRICS
from drillctl.history.rule import MAX_LENGTH, RuleError, parse

NOW = {"recovery_time": 0.5, "lost_requests": 12.0, "detection": None}
PAST = [{"recovery_time": value, "lost_requests": 10.0} for value in (0.3, 0.2, 0.4, 0.1)]


def fails(text: str, now: dict[str, float | None] = NOW, minimum: int = 3) -> bool | None:  # type: ignore[assignment]
    return parse(text).judge(now, PAST, minimum)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("recovery_time > 0.4", True),
        ("recovery_time > 0.5", False),
        ("recovery_time >= 0.5", True),
        ("recovery_time < 500ms", False),
        ("recovery_time <= 500ms", True),
        ("recovery_time == 0.5s", True),
        ("recovery_time != .5", False),
        ("recovery_time > 2 * p50(last 4)", False),  # 2 * 0.25 is 0.5
        ("recovery_time > 1.9 * p50(last 4)", True),
        ("recovery_time > p50(last 3)", True),
        ("recovery_time > max(last 10)", True),
        ("recovery_time > max(last 10) + 0.1", False),
        ("recovery_time - min(last 10) > 0.39", True),
        ("recovery_time > mean(last 4) + mean(last 4)", False),
        ("lost_requests > 1.1 * p90(recovery_time, last 4) + 11", True),
        ("recovery_time > 2 + 3 * 4", False),
        ("recovery_time > (2 + 3) * -4", True),
        ("recovery_time > 1 - 0.4 - 0.2", True),
        ("8 / 4 / 2 > recovery_time", True),
        ("recovery_time > 1 or lost_requests > 10 and recovery_time > 1", False),
        ("(recovery_time > 1 or lost_requests > 10) and recovery_time > 0.4", True),
        ("recovery_time > 1 or lost_requests > max(last 3)", True),
        ("  recovery_time>0.4  ", True),
        # not measured: the other side decides if it can
        ("detection > 1", None),
        ("detection > 1 or recovery_time > 0.4", True),
        ("detection > 1 or recovery_time > 1", None),
        ("detection > 1 and recovery_time > 1", False),
        ("detection > 1 and recovery_time > 0.4", None),
        ("recovery_time > p50(detection, last 5)", None),
        ("recovery_time / (lost_requests - 12) > 1", None),
    ],
)
def test_what_a_rule_means(text: str, expected: bool | None) -> None:
    assert fails(text) is expected


def test_the_figures_are_told_with_how_many_runs_they_are_from() -> None:
    assert parse("recovery_time > 1.25 * p50(last 10)").judge(NOW, PAST, 3) == (
        True,
        "recovery_time 0.50 s; p50(recovery_time, last 10) = 0.25 s (4 runs)",
    )


@pytest.mark.parametrize(
    ("minimum", "window", "enough"), [(4, 10, True), (5, 10, False), (5, 4, True), (1, 1, True), (5, 5, False)]
)
def test_too_few_runs_decide_nothing(minimum: int, window: int, enough: bool) -> None:
    found, said = parse(f"recovery_time > p50(last {window})").judge(NOW, PAST, minimum)
    assert (found is not None) is enough
    if not enough:
        assert said.endswith(f"p50(recovery_time, last {window}) needs 5 comparable runs, the history has 4")


def test_runs_that_lack_the_metric_are_passed_over() -> None:
    past = [{"recovery_time": None}, {"recovery_time": 0.2}, {}, {"recovery_time": 0.4}]
    assert parse("recovery_time > max(last 2)").judge(NOW, past, 2)[0] is True


@pytest.mark.parametrize(
    ("text", "column", "reason"),
    [
        ("", 1, "is missing, the rule ends here"),
        ("recovery_time", 1, "a rule compares"),
        ("recovery_time + 1", 1, "a rule compares"),
        ("recovery_time >", 16, "is missing, the rule ends here"),
        ("recovery_time > > 1", 17, "is missing, `>` stands here"),
        ("recovery_time => 1", 15, "`=>` means nothing here"),
        ("recovery_time > 1 > 2", 19, "join them by `and`"),
        ("recovery_time > 1 2", 19, "`2` is too much"),
        ("recovery_tine > 1", 1, "`recovery_tine` is neither a metric (recovery_time, detection,"),
        ("recovery_time > p50", 20, "`(` is missing after `p50`"),
        ("recovery_time > p50(10)", 21, "`last COUNT` is missing"),
        ("recovery_time > p50(last)", 25, "a whole number of runs from 1 to 1000"),
        ("recovery_time > p50(last 0)", 26, "a whole number of runs from 1 to 1000"),
        ("recovery_time > p50(last 1001)", 26, "a whole number of runs from 1 to 1000"),
        ("recovery_time > p50(last 2.5)", 26, "a whole number of runs from 1 to 1000"),
        ("recovery_time > p50(last 10", 28, "`)` is missing after `last 10`"),
        ("recovery_time > p50(detection last 3)", 31, "`,` is missing between metric and `last`"),
        ("recovery_time > p100(last 3)", 17, "`p100` is neither"),
        ("recovery_time > detection * p50(last 3)", 29, "The comparison names several"),
        ("1 > p50(last 3)", 5, "The comparison names none: write p50(METRIC, last 3)"),
        ("2 > 1", 1, "the rule names no metric of the run"),
        ("recovery_time > 1 and 2", 23, "`and` joins comparisons, and this is a number"),
        ("(recovery_time > 1) * 2 > 1", 1, "`*` wants numbers, and this is a comparison"),
        ("(recovery_time > 1", 19, "`)` is missing for the `(` at column 1"),
        ("recovery_time > 1)", 18, "`)` is too much"),
        ("recovery_time > 5min", 17, "`5min` means nothing here"),
        ("recovery_time > 1; rm -rf /", 18, "`;` means nothing here"),
        ("recovery_time > __import__('os')", 28, "means nothing here"),
        ("recovery_time > recovery_time.__class__", 30, "means nothing here"),
        ("(" * 100 + "1", 31, "nested too deeply"),
        ("-" * 100 + "1", 31, "nested too deeply"),
        ("recovery_time > " + "1+" * MAX_LENGTH + "1", MAX_LENGTH + 1, "at most 500 characters"),
        ("图 > 1", 1, "`图` means nothing here"),
    ],
)
def test_what_is_no_rule_is_refused_with_column_and_reason(text: str, column: int, reason: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse(text)
    assert (caught.value.column, reason in caught.value.reason) == (column, True), caught.value


@given(st.text(alphabet=st.sampled_from("recovery_time p50()last,<>=!+-*/. 0123 andor\n\0§"), max_size=60))
def test_any_text_is_a_rule_or_is_refused_within_its_length(text: str) -> None:
    try:
        rule = parse(text)
    except RuleError as refusal:
        column = refusal.column
    else:
        rule.judge(NOW, PAST, 3)
        column = 1
    assert 1 <= column <= len(text) + 1


NUMBERS = st.integers(0, 50).map(str)
SUMS = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda parts: f"{parts[0]} {parts[1]} {parts[2]}"),
        inner.map(lambda one: f"({one})"),
        inner.map(lambda one: f"-{one}"),
    ),
    max_leaves=12,
)


@given(SUMS, SUMS, st.sampled_from([">", ">=", "<", "<=", "==", "!="]))
def test_arithmetic_and_precedence_are_as_everywhere(left: str, right: str, sign: str) -> None:
    text = f"recovery_time + {left} {sign} {right}"
    if len(text) <= MAX_LENGTH:
        assert fails(text) is eval(text, {"recovery_time": 0.5})


def test_every_metric_may_stand_in_a_rule() -> None:
    for name in METRICS:
        assert parse(f"{name} > p90(last 3)").metrics() == [name]
