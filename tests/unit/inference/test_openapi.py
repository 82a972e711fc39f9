"""The published document: complete, and true under whatever schemathesis makes of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import just
from schemathesis import GenerationMode

from inference.openapi import MEDIA_TYPES, document
from inference.selfcheck import drawn_images

if TYPE_CHECKING:
    from conftest import ServerProcess

# What makes bytes an image cannot be said in a schema: so these are what is sent where the document asks for one.
IMAGES = dict(zip(MEDIA_TYPES, drawn_images(), strict=True))
for media_type, image in IMAGES.items():
    schemathesis.openapi.media_type(media_type, just(image))

bounded = settings(
    max_examples=25,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_the_document_names_every_path_that_is_answered(server: ServerProcess) -> None:
    published = httpx.get(f"{server.url}/openapi.json").json()
    assert published == document()
    for path, methods in published["paths"].items():
        for method in methods:
            response = httpx.request(method.upper(), server.url + path)
            assert str(response.status_code) in methods[method]["responses"]


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_schemathesis_finds_nothing(server: ServerProcess, mode: GenerationMode) -> None:
    """Requests that follow the document and requests that do not; every answer is one that the document allows."""
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    asked: Counter[str] = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()
        try:
            strategy = operation.as_strategy(generation_mode=mode)

            @bounded
            @given(case=strategy)
            def check(case: schemathesis.Case) -> None:
                asked[case.operation.label] += 1
                case.call_and_validate(timeout=30)

            check()
        except Unsatisfiable:
            continue
    assert asked["POST /predict"] >= 20
    assert httpx.post(f"{server.url}/predict", files={"file": drawn_images()[0]}).status_code == 200
