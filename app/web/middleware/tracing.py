"""A span for each request, as pure ASGI middleware.

Not Starlette's own, which is marked experimental: it would export the query string, which our logs leave out on
purpose, and the load balancer's address as the client's.
"""

from __future__ import annotations

from opentelemetry.trace import SpanKind, Status, StatusCode
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.observability.otel import Tracing, remote_parent
from app.web.client_address import ClientAddress
from app.web.middleware.access_log import METHODS

# Asked every few seconds, each would be a trace without use.
UNTRACED = frozenset({"/health", "/health/live", "/metrics"})


class TracingMiddleware:
    """Continues the caller's trace, if it sent one."""

    def __init__(self, app: ASGIApp, *, tracing: Tracing, client_address: ClientAddress) -> None:
        self.app = app
        self.tracing, self.client_address = tracing, client_address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNTRACED:
            await self.app(scope, receive, send)
            return
        # As the conventions have it for a word that is no method.
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        name = "HTTP" if method == "_OTHER" else method
        with self.tracing.tracer.start_as_current_span(
            name,
            context=remote_parent(Headers(scope=scope)),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method,
                "url.path": scope["path"],
                "url.scheme": scope["scheme"],
                "network.protocol.version": scope["http_version"],
                "client.address": self.client_address.of(scope),
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span:

            async def send_wrapper(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_attribute("error.type", str(message["status"]))
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            try:
                await self.app(scope, receive, send_wrapper)
            finally:
                # Known only now. Without one the method stays the name: raw paths would be a name for every id.
                if (route := getattr(scope.get("route"), "path", None)) is not None:
                    span.update_name(f"{name} {route}")
                    span.set_attribute("http.route", route)
