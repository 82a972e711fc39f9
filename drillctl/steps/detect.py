"""detect: wait until the clients' requests show that the zone is lost, or that they do not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from drillctl.errors import Inconclusive
from drillctl.traffic.detection import Rule

if TYPE_CHECKING:
    from drillctl.language import DetectStep
    from drillctl.playbook import Playbook
    from drillctl.run import Run


def rule_of(step: DetectStep, playbook: Playbook) -> Rule:
    """Return the rule by which a step detects."""
    return Rule(
        failures=step.failures,
        share=step.rate.share if step.rate else None,
        seconds=step.rate.seconds if step.rate else 0.0,
        requests=step.rate.requests if step.rate else 0,
        signals=frozenset(step.signals),
        slow=step.slow_seconds or playbook.traffic.slow_seconds,
    )


def carry_out(run: Run, step: DetectStep) -> None:
    """Wait for the failures. Raises Inconclusive when clients notice nothing though they should."""
    since = run.moments.fault_began or time.monotonic()
    rule = rule_of(step, run.playbook)
    with run.step("detect") as done:
        deadline = time.monotonic() + step.within_seconds
        detection = None
        while detection is None:
            run.interrupt.check()
            left = deadline - time.monotonic()
            if left <= 0:
                break
            # In slices, so that a request to stop is heard.
            detection = run.sending().wait_for_detection(since, rule, min(left, 0.5))
        if step.expect == "nothing":
            run.findings.not_expected = detection
            done.detail = f"nothing within {step.within_seconds:g} s, as expected"
            if detection is not None:
                done.status, done.detail = "failed", f"a false alarm: {detection.evidence}"
            return
        if detection is None:
            raise Inconclusive(f"clients noticed nothing within {step.within_seconds:g} s: no {rule}")
        run.moments.detected = detection.at
        run.findings.detection = detection
        done.detail = detection.evidence
