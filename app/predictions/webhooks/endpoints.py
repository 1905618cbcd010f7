"""/v1/webhooks: HTTP in, service, HTTP out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from app.predictions.webhooks import service
from app.predictions.webhooks.schemas import WebhookAccepted
from app.web import http
from app.web.state import State


async def receive(request: Request[State]) -> Response:
    secrets = service.secrets_of(http.state(request), provider := request.path_params["provider"])
    webhook_id = await service.accept(
        http.state(request),
        provider,
        secrets=secrets,
        headers=request.headers,
        body=await request.body(),
        reference=request.query_params.get(service.REFERENCE),
    )
    return http.reply(WebhookAccepted(webhook_id=webhook_id), 202)
