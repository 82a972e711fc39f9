"""traffic: start the clients' load in a process of its own, and measure how things are before the fault."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.errors import NotStarted
from drillctl.language import DetectStep
from drillctl.playbook import images
from drillctl.traffic.outage import count
from drillctl.traffic.spec import TrafficSpec
from drillctl.traffic.stream import Traffic

if TYPE_CHECKING:
    from drillctl.run import Run


def carry_out(run: Run) -> None:
    """Start sending and take the baseline. Raises NotStarted when it is not clean, Inconclusive without a prober."""
    plan = run.playbook.traffic
    service = run.inventory.service
    with run.step("traffic") as done:
        spec = TrafficSpec(
            url=run.inventory.gateway.url.rstrip("/") + service.paths.predict,
            rate=plan.rate,
            images=tuple(str(path) for path in images(run.playbook)),
            timeout=plan.timeout_seconds,
            slow=_overdue(run),
            zone_header=service.zone_header,
            host_header=service.host_header,
        )
        run.traffic = Traffic.start(spec, run.folder / "probes.jsonl")
        begun = run.traffic.mark("baseline")
        if run.force:
            done.detail = "started; without a baseline, because the zone that serves is given up"
            return
        run.interrupt.sleep(plan.baseline_seconds)
        counted = count(run.traffic.probes(), begun, slow=plan.slow_seconds)
        primary = run.inventory.zone("primary").name
        if not counted.ok:
            raise NotStarted("no request of the baseline was answered")
        if counted.failed:
            kinds = ", ".join(f"{number} × {kind}" for kind, number in counted.kinds.items())
            raise NotStarted(f"{counted.failed} of {counted.sent} requests failed before any fault ({kinds})")
        strangers = {zone: number for zone, number in counted.by_zone.items() if zone != primary}
        if strangers:
            raise NotStarted(f"requests were answered by {', '.join(strangers)}, not by the primary {primary} alone")
        _warm(run)
        p99 = counted.latency.p99 or 0.0
        done.detail = f"{counted.ok} requests, all answered by {primary}, p99 {p99 * 1000:.0f} ms"


def _overdue(run: Run) -> float:
    """Return after how many seconds the prober says that a request still waits: when the detection wants to know."""
    steps = (step for step in run.playbook.steps if isinstance(step, DetectStep))
    return next((step.slow_seconds for step in steps if step.slow_seconds), run.playbook.traffic.slow_seconds)


def _warm(run: Run) -> None:
    """Prepare the channels of the fault and the switch, so that no login shell counts into the outage."""
    fleet, _ = run.live()
    for host in run.inventory.gateway.hosts:
        fleet[host].warm(4)
    for host in run.inventory.zone("primary").hosts:
        fleet[host].warm(1)
