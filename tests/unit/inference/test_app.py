"""What `/predict` says once its own computation went well, or ended in a bug."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from inference.app import Service
from inference.metrics import Metrics
from inference.readiness import Readiness, Ready

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response

    from inference.settings import Settings


class Asked:
    """A service whose answer to a request is what a test does in its place."""

    def __init__(self, answer: Callable[[Readiness], Any]) -> None:
        settings = cast("Settings", SimpleNamespace(queue_size=8))
        self.readiness, self.metrics = Readiness(), Metrics()
        self.service = Service(settings, self.readiness, self.metrics)
        self.readiness.ready(Ready(cast("Any", None), cast("Any", SimpleNamespace(depth=0)), {}))

        async def answered(*_: object) -> Any:
            return answer(self.readiness)

        self.service._answer = answered  # type: ignore[method-assign]

    def predict(self) -> Response:
        return asyncio.run(self.service.predict(cast("Any", None)))

    def counted(self, error: str) -> bool:
        self.service._of_ready = lambda _: 0  # type: ignore[method-assign,assignment]
        return f'inference_errors_total{{error="{error}"}} 1.0' in self.metrics.page().decode()


def test_an_answer_of_a_device_that_was_found_broken_meanwhile_is_none() -> None:
    def breaks(readiness: Readiness) -> dict[str, object]:
        readiness.fail("the device is lost")
        return {"predictions": []}

    asked = Asked(breaks)
    assert asked.predict().status_code == 503
    assert asked.counted("failed")


def test_a_bug_is_counted_among_the_errors() -> None:
    def bug(_: Readiness) -> None:
        raise ZeroDivisionError

    asked = Asked(bug)
    with pytest.raises(ZeroDivisionError):
        asked.predict()
    assert asked.counted("internal_error")
