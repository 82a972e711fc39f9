"""Whether answers are equal, and what is said when they are not."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drillctl.compare.equality import Exact, Tolerance, canonical, compare, digest


def answer(*pairs: tuple[str, float], **more: object) -> bytes:
    rows = [{"label": label, "score": score, "index": i} for i, (label, score) in enumerate(pairs)]
    return json.dumps({"predictions": rows, **more}, ensure_ascii=False).encode()


CIRCLE = answer(("红色圆形", 0.9), ("红色星形", 0.1))


def only(equality):
    (difference,) = equality.different
    return difference.what


def test_equal_answers_are_identical_whatever_the_spelling():
    spaced = json.dumps(json.loads(CIRCLE), indent=2, ensure_ascii=True, sort_keys=True).encode()
    found = compare({"a": CIRCLE, "b": CIRCLE}, {"a": spaced, "b": CIRCLE}, Exact())
    assert found.equal
    assert (found.compared, found.identical, found.exact, found.score_difference) == (2, 2, 2, 0.0)


def test_last_bit_of_one_score_is_a_difference_for_exact():
    other = answer(("红色圆形", math.nextafter(0.9, 1)), ("红色星形", 0.1))
    found = compare({"a": CIRCLE}, {"a": other}, Exact())
    assert not found.equal
    assert only(found) == "scores differ by up to 1e-16"


def test_difference_of_scores_is_said_in_numbers():
    other = answer(("红色圆形", 0.9 + 3e-7), ("红色星形", 0.1 - 1e-7))
    found = compare({"a": CIRCLE}, {"a": other}, Exact())
    assert only(found) == "scores differ by up to 3e-07"
    assert found.score_difference == pytest.approx(3e-7)


def test_tolerance_accepts_scores_within_and_reports_the_largest_difference():
    other = answer(("红色圆形", 0.9 + 3e-7), ("红色星形", 0.1 - 1e-7))
    found = compare({"a": CIRCLE, "b": CIRCLE}, {"a": other, "b": CIRCLE}, Tolerance(1e-6))
    assert found.equal
    assert (found.identical, found.exact) == (2, 1)
    assert found.score_difference == pytest.approx(3e-7)


def test_tolerance_refuses_scores_beyond():
    found = compare({"a": CIRCLE}, {"a": answer(("红色圆形", 0.91), ("红色星形", 0.1))}, Tolerance(1e-3))
    assert only(found) == "scores differ by up to 0.01, 0.001 is allowed"


@pytest.mark.parametrize("rule", [Exact(), Tolerance(1.0)])
@pytest.mark.parametrize(
    ("other", "what"),
    [
        (answer(("蓝色圆形", 0.9), ("红色星形", 0.1)), "label 红色圆形 became 蓝色圆形"),
        (answer(("红色圆形", 0.9), ("蓝色星形", 0.1)), "label 红色星形 became 蓝色星形 in place 2"),
        (answer(("红色星形", 0.9), ("红色圆形", 0.1)), "label 红色圆形 became 红色星形"),
        (answer(("红色圆形", 0.9)), "2 predictions became 1"),
        (b"<html>", "not JSON: the answer of the other side (Expecting value: line 1 column 1 (char 0))"),
        (b"", "not JSON: the answer of the other side (Expecting value: line 1 column 1 (char 0))"),
        (CIRCLE.replace(b"0.9", b"NaN"), "not JSON: the answer of the other side (NaN is not JSON)"),
        (b'{"error":"service_unavailable"}', "the answers differ, and at least one is no list of predictions"),
        (b'{"predictions":[1,2]}', "the answers differ, and at least one is no list of predictions"),
        (CIRCLE.replace(b"0.9", b"true"), "the answers differ, and at least one is no list of predictions"),
        (CIRCLE.replace(b"0.9", b'"0.9"'), "the answers differ, and at least one is no list of predictions"),
    ],
)
def test_what_differs_is_said_for_a_person_and_no_tolerance_covers_it(rule, other, what):
    found = compare({"a": CIRCLE}, {"a": other}, rule)
    assert only(found) == what
    assert (found.compared, found.identical, found.equal) == (1, 0, False)


def test_something_else_in_the_answer_differs():
    assert only(compare({"a": CIRCLE}, {"a": answer(("红色圆形", 0.9), ("红色星形", 0.1), top=3)}, Exact())) == (
        "labels and scores agree, something else in the answer differs"
    )


def test_image_that_one_side_did_not_answer_is_a_difference():
    found = compare({"a": CIRCLE, "b": CIRCLE}, {"b": CIRCLE, "c": CIRCLE}, Exact())
    assert [(d.image, d.what) for d in found.different] == [
        ("a", "missing: only the baseline answered"),
        ("c", "missing: only the other side answered"),
    ]
    assert (found.compared, found.identical) == (3, 1)


def test_nothing_compared_is_not_equal():
    assert not compare({}, {}, Exact()).equal


def test_noise_floor_of_a_server_against_itself_is_zero_when_it_repeats_itself():
    assert compare({"a": CIRCLE}, {"a": CIRCLE}, Tolerance(0.0)).score_difference == 0.0


@pytest.mark.parametrize("score_abs", [-1e-9, math.nan, math.inf])
def test_tolerance_that_would_let_anything_pass_is_refused(score_abs):
    with pytest.raises(ValueError, match="a tolerance is a number"):
        Tolerance(score_abs)


def test_canonical_form_sorts_keys_and_keeps_chinese_readable():
    assert canonical(b'{"b": 1.50, "a": "\\u7ea2"}') == '{"a":"红","b":1.5}'.encode()


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"a":NaN}', b'{"a":-Infinity}', b'{"a":1e999}', b'{"a":1,"a":2}', b"\xff", b"[" * 100_000]
)
def test_what_has_no_canonical_form_is_refused(body):
    with pytest.raises(ValueError):
        canonical(body)
    assert digest(body) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON.filter(lambda value: "\\ud" not in json.dumps(value)))
def test_canonical_form_is_a_fixed_point_and_loses_nothing(document):
    form = canonical(json.dumps(document).encode())
    assert canonical(form) == form
    assert json.loads(form) == document
    assert digest(form) == digest(json.dumps(document, indent=1).encode())
