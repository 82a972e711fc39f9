"""detect: wait until the clients' requests show that the zone is lost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from drillctl.errors import Inconclusive

if TYPE_CHECKING:
    from drillctl.playbook import DetectStep
    from drillctl.run import Run


def carry_out(run: Run, step: DetectStep) -> None:
    """Wait for the failures. Raises Inconclusive when clients notice nothing."""
    since = run.moments.fault_began or time.monotonic()
    with run.step("detect") as done:
        deadline = time.monotonic() + step.within_seconds
        slow = run.playbook.traffic.slow_seconds
        detection = None
        while detection is None:
            run.interrupt.check()
            left = deadline - time.monotonic()
            if left <= 0:
                raise Inconclusive(
                    f"clients noticed nothing within {step.within_seconds:g} s: no {step.failures} failures in a row"
                )
            # In slices, so that a request to stop is heard.
            detection = run.sending().wait_for_detection(since, step.failures, min(left, 0.5), slow)
        run.moments.detected = detection.at
        run.findings.detection = detection
        done.detail = detection.evidence
