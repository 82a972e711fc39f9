"""switch: a request to stop is heard while it is not yet proven that the config is in force."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from drillctl.errors import Aborted, GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.run import Run


def test_what_waits_for_a_host_is_left_when_somebody_asks_to_stop(make_run: Callable[..., Run]) -> None:
    run = make_run()
    goes_on = threading.Event()
    threading.Timer(0.2, run.interrupt.ask, ["a stop condition"]).start()
    begun = time.monotonic()
    with pytest.raises(Aborted, match="stopped by a stop condition"):
        run.listening(lambda: goes_on.wait(30))
    assert time.monotonic() - begun < 5
    goes_on.set()


def test_what_comes_back_is_returned_and_what_goes_wrong_is_raised(make_run: Callable[..., Run]) -> None:
    run = make_run()
    assert run.listening(lambda: 7) == 7

    def fail() -> None:
        raise GatewayError("not in force")

    with pytest.raises(GatewayError, match="not in force"):
        run.listening(fail)

    def late() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        run.listening(late)


def test_while_things_are_put_back_nobody_is_heard(make_run: Callable[..., Run]) -> None:
    run = make_run()
    run.interrupt.restoring()
    run.interrupt.ask("SIGINT")
    assert run.listening(lambda: time.sleep(0.3)) is None
