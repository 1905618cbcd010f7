"""OpenTelemetry, as it is used here: spans in batches to one collector, over HTTP and protobuf.

Loaded only by `app.observability.traces`, and only with an endpoint. A collector that is away costs its spans and
nothing else: they are sent from a thread, from a queue of bounded length, and the log has one line about it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.observability.jobs import Attempt
from app.observability.logging import get_logger
from app.settings import Settings

SCOPE: Final = "slipway"

_PATH: Final = "/v1/traces"
_DELAY: Final = 2.0
"""Seconds between two batches: a replica that is killed takes no more than these along."""
_SEND_TIMEOUT: Final = 5.0
_CLOSE_TIMEOUT: Final = 3.0

_propagator = TraceContextTextMapPropagator()

log = get_logger()


class Tracing:
    """The tracer of this process, and what the application asks of it."""

    def __init__(self, settings: Settings) -> None:
        """Connects to nothing before the first batch."""
        # It logs every batch that fails, as an error; an outage is one line here.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        endpoint = str(settings.otel_exporter_otlp_endpoint).rstrip("/") + _PATH
        # The same decision for a whole trace wherever it is made, because it follows from the trace's id: a caller
        # that asks for its trace to be kept does not get more than its share, and a job keeps what its request kept.
        ratio = TraceIdRatioBased(settings.otel_traces_sampler_arg)
        self._provider = TracerProvider(
            sampler=ParentBased(root=ratio, remote_parent_sampled=ratio),
            resource=Resource.create(
                {
                    "service.name": settings.service_name,
                    "service.version": settings.service_version,
                    "deployment.environment.name": settings.environment,
                }
            ),
            shutdown_on_exit=False,
        )
        exporter = QuietExporter(OTLPSpanExporter(endpoint=endpoint, timeout=_SEND_TIMEOUT))
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000 * _DELAY))
        self.tracer: Tracer = self._provider.get_tracer(SCOPE)
        self._queue = settings.queue_name

    def close(self) -> None:
        """Send what is left, for a few seconds at most: no stop can wait for the half minute of the SDK's own bound."""
        thread = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        thread.start()
        thread.join(_CLOSE_TIMEOUT)

    def current(self) -> str | None:
        return _traceparent(get_current_span())

    def ids(self) -> Mapping[str, str]:
        """For a log line: which span it belongs to; nothing outside of one."""
        context = get_current_span().get_span_context()
        if not context.is_valid:
            return {}
        return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}

    @contextmanager
    def attempt(self, traceparent: str | None, attributes: Mapping[str, str | int]) -> Iterator[Attempt]:
        with self.tracer.start_as_current_span(
            f"process {self._queue}",
            context=remote_parent({"traceparent": traceparent} if traceparent else {}),
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": "rq",
                "messaging.operation.type": "process",
                "messaging.operation.name": "process",
                "messaging.destination.name": self._queue,
                **attributes,
            },
            # Messages of exceptions can hold values that must not leave in a trace; the log has them.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            attempt = Attempt(_traceparent(span))
            try:
                yield attempt
            finally:
                span.set_attribute("slipway.job.outcome", attempt.result)
                if attempt.result != "done":
                    span.set_attribute("error.type", attempt.result)
                    span.set_status(Status(StatusCode.ERROR, attempt.error))


class QuietExporter(SpanExporter):
    """Logs that the collector is away and that it is back, and not each batch in between."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed and not self._failing:
            log.warning("traces are lost, the collector does not take them", spans=len(spans))
        elif self._failing and not failed:
            log.info("the collector takes traces again")
        self._failing = failed
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def remote_parent(headers: Mapping[str, str]) -> Context:
    """The context that `traceparent` and `tracestate` name; an empty one for what is absent or malformed."""
    return _propagator.extract(headers, context=Context())


def _traceparent(span: Span) -> str | None:
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"
