"""Prometheus metrics of one API process, in a registry of its own: each replica counts its own requests."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

# A second series for each counter and each bucket's histogram, which says when it was made and nothing else.
disable_created_metrics()  # type: ignore[no-untyped-call]

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    def __init__(self, *, service: str, version: str) -> None:
        self.registry = CollectorRegistry()
        names = ["method", "route", "status"]
        self._requests = Counter("http_requests", "Requests answered.", names, registry=self.registry)
        self._seconds = Histogram(
            "http_request_duration_seconds", "Time to answer.", names[:2], buckets=_BUCKETS, registry=self.registry
        )
        self._in_flight = Gauge("http_requests_in_flight", "Requests under way.", registry=self.registry)
        export_version(self.registry, service=service, version=version)
        ProcessCollector(registry=self.registry)

    def request_started(self) -> None:
        self._in_flight.inc()

    def request_finished(self, *, method: str, route: str, status: int, seconds: float) -> None:
        self._in_flight.dec()
        self._requests.labels(method, route, str(status or "aborted")).inc()
        self._seconds.labels(method, route).observe(seconds)

    def count_from(self, name: str, help_text: str, read: Callable[[], int]) -> None:
        """Export a count that another object keeps."""
        self.registry.register(_ReadCount(name, help_text, read))

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)


def export_version(registry: CollectorRegistry, *, service: str, version: str) -> None:
    info = Gauge("slipway_info", "Which version runs.", ["service", "version"], registry=registry)
    info.labels(service, version).set(1)


class _ReadCount(Collector):
    def __init__(self, name: str, help_text: str, read: Callable[[], int]) -> None:
        self._name, self._help, self._read = name, help_text, read

    def collect(self) -> list[Metric]:
        return [CounterMetricFamily(self._name, self._help, value=self._read())]
