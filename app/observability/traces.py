"""Traces from a request to its jobs, when a collector is set. Without one nothing here costs anything.

OpenTelemetry is loaded by `start` alone, so that a process that sends no traces does not pay for its import.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from structlog.types import EventDict, WrappedLogger

from app.observability.jobs import Attempt
from app.settings import Settings

if TYPE_CHECKING:
    from app.observability.otel import Tracing

_tracing: Tracing | None = None


def start(settings: Settings) -> None:
    """Trace from now on, if there is an endpoint to send traces to. To be called before redis-py is imported."""
    global _tracing
    if settings.otel_exporter_otlp_endpoint is None:
        # redis-py loads the SDK's metrics, which we do not use, wherever it finds the package.
        sys.modules.setdefault("opentelemetry", None)  # type: ignore[arg-type]
        return
    from app.observability.otel import Tracing

    _tracing = Tracing(settings)


def stop() -> None:
    """Send what is still held, within seconds; what cannot be sent then is lost."""
    global _tracing
    if _tracing is not None:
        _tracing.close()
        _tracing = None


def current() -> str | None:
    """W3C `traceparent` of the span of this context, for the job that it causes."""
    return _tracing.current() if _tracing is not None else None


@contextmanager
def attempt(*, job_id: uuid.UUID, kind: str, attempt: int, waited: float, traceparent: str | None) -> Iterator[Attempt]:
    """The block is one attempt at the job, which was due for `waited` seconds; `traceparent` is the request's."""
    if _tracing is None:
        yield Attempt(traceparent)
        return
    attributes: dict[str, str | int] = {
        "messaging.message.id": str(job_id),
        "slipway.job.kind": kind,
        "slipway.job.attempt": attempt,
        "slipway.job.waited_ms": round(waited * 1000),
    }
    with _tracing.attempt(traceparent, attributes) as traced:
        yield traced


def ids() -> Mapping[str, str]:
    """What names the span of this context in a log line; nothing without one."""
    return _tracing.ids() if _tracing is not None else {}


def active() -> Tracing | None:
    """The tracer of this process, if it has one."""
    return _tracing


def add_span(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Processor of structlog: a line within a span says which one."""
    return {**event, **ids()} if _tracing is not None else event
