"""What operators ask: health, metrics."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from app.errors import NotFound
from app.web import http
from app.web.state import State

_THROUGH_A_PROXY = frozenset({"forwarded", "x-forwarded-for"})


async def health(request: Request[State]) -> Response:
    report = await request.state["health"].report()
    return http.reply(report, 503 if report.status == "unhealthy" else 200)


async def live(_: Request[State]) -> Response:
    """Touches nothing: a replica that answers must not be restarted because the database is away."""
    return PlainTextResponse("alive")


async def metrics(request: Request[State]) -> Response:
    """For a Prometheus in the same network. A load balancer serves all paths of the API to everybody, and says so in a
    header."""
    if not _THROUGH_A_PROXY.isdisjoint(request.headers):
        raise NotFound("metrics are told to those who ask this process itself, not through a proxy")
    state = request.state
    counted, queues = state["metrics"], state["queue_metrics"]
    assert counted is not None, "the route exists only with ENABLE_METRICS"
    assert queues is not None, "as above"
    await queues.read(state["probe_engine"], state["redis"])
    return Response(counted.render(), media_type="text/plain; version=1.0.0; charset=utf-8")
