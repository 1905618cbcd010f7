"""Prometheus metrics of one worker process, served on a port of its own.

In the worker itself, because only it knows how long its jobs take; with threads instead of forked processes there is
one registry, and no files in between.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.process_collector import ProcessCollector

from app.observability.jobs import MetricsPortError
from app.observability.metrics import export_version
from app.settings import Settings

# From a webhook that is answered at once to a job at its time limit.
_DURATIONS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
# From the milliseconds of a nudge to a backlog of an hour.
_WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)


class WorkerMetrics:
    """A JobRecorder (app.observability.jobs) whose records Prometheus reads."""

    def __init__(self, settings: Settings, *, heartbeat_age: Callable[[], float]) -> None:
        """`heartbeat_age`: seconds since the worker's loop was last well, as its health check sees it."""
        self.registry = CollectorRegistry()
        self._wait = Histogram(
            "slipway_job_wait_seconds", "From due to started.", ["kind"], buckets=_WAITS, registry=self.registry
        )
        self._duration = Histogram(
            "slipway_job_duration_seconds", "One attempt.", ["kind"], buckets=_DURATIONS, registry=self.registry
        )
        self._ended = Counter("slipway_jobs_ended", "Attempts ended.", ["kind", "outcome"], registry=self.registry)
        self._running = Gauge("slipway_worker_jobs_running", "Jobs under way here.", registry=self.registry)
        concurrency = Gauge("slipway_worker_concurrency", "Jobs that may be under way here.", registry=self.registry)
        concurrency.set(settings.queue_concurrency)
        age = Gauge("slipway_worker_heartbeat_age_seconds", "Since the loop was well.", registry=self.registry)
        age.set_function(heartbeat_age)
        export_version(self.registry, service=settings.service_name, version=settings.service_version)
        ProcessCollector(registry=self.registry)

    def started(self, kind: str, wait_seconds: float) -> None:
        self._running.inc()
        self._wait.labels(kind).observe(max(0.0, wait_seconds))

    def ended(self, kind: str, outcome: str, seconds: float) -> None:
        self._running.dec()
        self._ended.labels(kind, outcome).inc()
        self._duration.labels(kind).observe(seconds)

    def serve(self, *, host: str, port: int) -> None:
        """Answer any path of `port` from now on, until the process ends. Raises MetricsPortError."""
        try:
            start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            raise MetricsPortError(
                f"METRICS_PORT={port}: {error.strerror}; choose a free port, each worker on a host needs its own"
            ) from None
