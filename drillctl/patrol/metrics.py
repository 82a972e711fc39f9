"""What a patrol found, for Prometheus: names and units as its own practices want them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from drillctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prometheus_client.core import Metric

    from drillctl.patrol.finding import Finding
    from drillctl.patrol.look import Look
    from drillctl.patrol.patrol import Patrol


class PatrolMetrics(Collector):
    """The last look of a patrol, read when Prometheus asks."""

    def __init__(self, patrol: Patrol) -> None:
        self._patrol = patrol
        self._seen: tuple[Look, tuple[Finding, ...]] | None = None
        self._lock = threading.Lock()

    def observe(self, look: Look, findings: Sequence[Finding]) -> None:
        """Take over a look and what was found in it."""
        with self._lock:
            self._seen = look, tuple(findings)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; nothing of hosts before the first look."""
        patrol, estate = self._patrol, self._patrol.inventory
        yield _counter("drillctl_watch_looks", "Looks at the estate.", patrol.looks, estate.name)
        yield _counter(
            "drillctl_watch_missed_looks", "Looks skipped because one took too long.", patrol.missed, estate.name
        )
        reconnects = patrol.sampler.connections.reconnects
        yield _counter("drillctl_watch_reconnects", "SSH connections that were made anew.", reconnects, estate.name)
        with self._lock:
            seen = self._seen
        if seen is None:
            return
        look, findings = seen
        about = [estate.name]
        last = GaugeMetricFamily(
            "drillctl_watch_last_look_timestamp_seconds", "When the last look began.", labels=["inventory"]
        )
        last.add_metric(about, look.at.timestamp())
        yield last
        took = GaugeMetricFamily("drillctl_watch_look_duration_seconds", "How long it took.", labels=["inventory"])
        took.add_metric(about, look.seconds)
        yield took
        yield from self._hosts(look)
        yield from self._service(look)
        yield from self._findings(findings)

    def _hosts(self, look: Look) -> Iterator[Metric]:
        estate = self._patrol.inventory
        pinned = estate.service.model.sha256
        names = ["inventory", "host", "zone", "role"]
        up = GaugeMetricFamily("drillctl_host_up", "Whether the host answers over SSH.", labels=names)
        ready = GaugeMetricFamily("drillctl_server_ready", "Whether the host's server is ready.", labels=names)
        latency = GaugeMetricFamily(
            "drillctl_server_health_latency_seconds", "How long the answer to the health check took.", labels=names
        )
        model = GaugeMetricFamily(
            "drillctl_model_matches",
            "Whether the model is the pinned one; absent while not known.",
            labels=[*names, "where"],
        )
        for zone in look.zones:
            about = [estate.name, zone.name, zone.survey.zone, zone.survey.role]
            up.add_metric(about, zone.trouble is None)
            ready.add_metric(about, zone.health.ready)
            if zone.latency is not None:
                latency.add_metric(about, zone.latency)
            for where, sha256 in (("disk", zone.survey.sha256_disk), ("loaded", zone.survey.sha256_loaded)):
                if sha256 is not None:
                    model.add_metric([*about, where], sha256 == pinned)
        for gateway in look.gateways:
            up.add_metric([estate.name, gateway.name, "", "gateway"], gateway.trouble is None)
        yield from (up, ready, latency, model)

    def _service(self, look: Look) -> Iterator[Metric]:
        estate = self._patrol.inventory
        configured = GaugeMetricFamily(
            "drillctl_zone_configured", "Whether the gateway is configured for the zone.", labels=["inventory", "zone"]
        )
        serving = GaugeMetricFamily(
            "drillctl_zone_serving", "Whether the zone answers clients.", labels=["inventory", "zone"]
        )
        for zone in estate.zones:
            configured.add_metric([estate.name, zone.name], look.configured_zone == zone.name)
            serving.add_metric([estate.name, zone.name], look.serving_zone == zone.name)
        drill = GaugeMetricFamily(
            "drillctl_drill_in_progress", "Whether a drill holds the lease.", labels=["inventory"]
        )
        drill.add_metric([estate.name], look.drill is not None)
        yield from (configured, serving, drill)

    def _findings(self, findings: Sequence[Finding]) -> Iterator[Metric]:
        names = ["inventory", "place", "kind"]
        found = GaugeMetricFamily("drillctl_finding", "1 for everything that is wrong at the last look.", labels=names)
        alarm = GaugeMetricFamily("drillctl_alarm", "1 for what has lasted long enough to be an alarm.", labels=names)
        estate = self._patrol.inventory.name
        for finding in findings:
            found.add_metric([estate, finding.place, finding.kind], 1)
        for finding in self._patrol.alarms:
            alarm.add_metric([estate, finding.place, finding.kind], 1)
        yield from (found, alarm)


def _counter(name: str, documentation: str, value: float, estate: str) -> CounterMetricFamily:
    family = CounterMetricFamily(name, documentation, labels=["inventory"])
    family.add_metric([estate], value)
    return family


class MetricsServer:
    """`/metrics` at an address, until it is closed. Raises UsageError when the address cannot be had."""

    def __init__(self, address: str, collector: Collector) -> None:
        from prometheus_client import start_http_server

        host, port = parse_address(address)
        registry = CollectorRegistry()
        registry.register(collector)
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise UsageError(
                f"{address} cannot be had for the metrics: {error.strerror or error}",
                hint="name another port",
                state="nothing was changed",
            ) from None
        self.address = f"{host}:{self._server.server_port}"

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def parse_address(text: str) -> tuple[str, int]:
    """Return the host and port of ADDRESS:PORT. Raises UsageError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(
            f"`{text}` is no ADDRESS:PORT", hint="such as 127.0.0.1:9786, or [::1]:9786", state="nothing was changed"
        )
    return host.strip("[]"), int(port)
