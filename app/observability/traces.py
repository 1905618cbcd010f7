"""Traces from a request to its jobs, when a collector is set. Without one nothing here costs anything.

OpenTelemetry is loaded by `start` alone: who sends no traces should not pay for its import at every start.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from structlog.types import EventDict, WrappedLogger

from app.settings import Settings

if TYPE_CHECKING:
    from app.observability.otel import Tracing
    from app.queue.claims import Claim

_tracing: Tracing | None = None


class Attempt(Protocol):
    """One attempt at a job, as it is traced."""

    claimed: Claim
    """The claim with the `traceparent` that what the job calls should see."""

    def ended(self, result: str, error: str | None) -> None:
        """What came of it; an attempt that is never told so was lost."""


class _Untraced:
    def __init__(self, claimed: Claim) -> None:
        self.claimed = claimed

    def ended(self, result: str, error: str | None) -> None:
        """Nobody wants to know."""


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
def attempt(claimed: Claim) -> Iterator[Attempt]:
    """The block is one attempt at the job."""
    if _tracing is None:
        yield _Untraced(claimed)
        return
    with _tracing.attempt(claimed) as traced:
        yield traced


def ids() -> Mapping[str, str]:
    """What names the span of this context in a log line; nothing without one."""
    return _tracing.ids() if _tracing is not None else {}


def active() -> Tracing | None:
    """The tracer of this process, if it has one."""
    return _tracing


def name_span(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """For structlog: a line within a span says which one."""
    return {**event, **ids()} if _tracing is not None else event
