"""Whether two sets of answers to the same images are the same (pure).

An answer is compared in its canonical JSON: keys sorted, no spaces, UTF-8. Exactly equal means byte for byte in that
form, so that only the order of keys, white space and the spelling of characters and numbers are left out of account.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Exact:
    """Every answer is the same in its canonical form."""


@dataclass(frozen=True)
class Tolerance:
    """The same labels in the same order, and every score within `score_abs` of the baseline's."""

    score_abs: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.score_abs) and self.score_abs >= 0):
            raise ValueError("a tolerance is a number that is not negative")


Rule = Exact | Tolerance


@dataclass(frozen=True)
class Difference:
    """One image whose answers are not equal: what differs, for a person, and both answers, shortened."""

    image: str
    what: str
    baseline: str
    other: str


@dataclass(frozen=True)
class Equality:
    """How many images were compared, how many answers agree by the rule, and each that does not.

    `exact` counts the answers that are equal byte for byte, `score_difference` is the largest difference of two scores
    over all images whose labels agree: compared with the primary against itself it says what is noise.
    """

    compared: int
    identical: int
    exact: int
    score_difference: float
    different: tuple[Difference, ...]

    @property
    def equal(self) -> bool:
        """Whether something was compared and nothing differs."""
        return self.compared > 0 and not self.different


def canonical(body: bytes) -> bytes:
    """Return the canonical form of a JSON document.

    Raises ValueError: not UTF-8, not JSON, a key twice in an object, NaN or Infinity, nested too deeply.
    """
    try:
        document = json.loads(body.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_no_key_twice)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def digest(body: bytes) -> str | None:
    """Return the SHA-256 of the canonical form, in hex; None if the body has none."""
    try:
        return hashlib.sha256(canonical(body)).hexdigest()
    except ValueError:
        return None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _no_key_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return made


def compare(baseline: Mapping[str, bytes], other: Mapping[str, bytes], rule: Rule) -> Equality:
    """Compare the answers of two servers, by image. An image that only one of them answered is a difference."""
    different: list[Difference] = []
    exact = 0
    largest = 0.0
    images = sorted(baseline.keys() | other.keys())
    for image in images:
        pair = _compare(baseline.get(image), other.get(image), rule)
        exact += pair.exact
        largest = max(largest, pair.score_difference)
        if pair.what is not None:
            different.append(Difference(image, pair.what, _shown(baseline.get(image)), _shown(other.get(image))))
    return Equality(len(images), len(images) - len(different), exact, largest, tuple(different))


@dataclass(frozen=True)
class _Pair:
    what: str | None
    exact: bool = False
    score_difference: float = 0.0


@dataclass(frozen=True)
class _Prediction:
    label: str
    score: float


def _compare(baseline: bytes | None, other: bytes | None, rule: Rule) -> _Pair:
    if baseline is None or other is None:
        return _Pair("missing: only " + ("the other side" if baseline is None else "the baseline") + " answered")
    forms: list[bytes] = []
    for side, body in (("baseline", baseline), ("other side", other)):
        try:
            forms.append(canonical(body))
        except ValueError as error:
            return _Pair(f"not JSON: the answer of the {side} ({error})")
    if forms[0] == forms[1]:
        return _Pair(None, exact=True)
    before, after = _predictions(forms[0]), _predictions(forms[1])
    if before is None or after is None:
        return _Pair("the answers differ, and at least one is no list of predictions")
    labels = _labels(before, after)
    if labels is not None:
        return _Pair(labels)
    largest = max((abs(b.score - a.score) for b, a in zip(before, after, strict=True)), default=0.0)
    if isinstance(rule, Tolerance) and largest <= rule.score_abs:
        return _Pair(None, score_difference=largest)
    if largest == 0.0:
        return _Pair("labels and scores agree, something else in the answer differs")
    allowed = f", {rule.score_abs:g} is allowed" if isinstance(rule, Tolerance) else ""
    return _Pair(f"scores differ by up to {largest:.1g}{allowed}", score_difference=largest)


def _predictions(form: bytes) -> tuple[_Prediction, ...] | None:
    document = json.loads(form)
    rows = document.get("predictions") if isinstance(document, dict) else None
    if not isinstance(rows, list):
        return None
    found: list[_Prediction] = []
    for row in rows:
        label, score = (row.get("label"), row.get("score")) if isinstance(row, dict) else (None, None)
        if not isinstance(label, str) or isinstance(score, bool) or not isinstance(score, int | float):
            return None
        found.append(_Prediction(label, score))
    return tuple(found)


def _labels(before: tuple[_Prediction, ...], after: tuple[_Prediction, ...]) -> str | None:
    if len(before) != len(after):
        return f"{len(before)} predictions became {len(after)}"
    for place, (b, a) in enumerate(zip(before, after, strict=True), start=1):
        if b.label != a.label:
            return f"label {b.label} became {a.label}" + ("" if place == 1 else f" in place {place}")
    return None


def _shown(body: bytes | None, limit: int = 400) -> str:
    if body is None:
        return ""
    text = body.decode("utf-8", errors="replace")
    return text if len(text) <= limit else text[:limit] + "…"
