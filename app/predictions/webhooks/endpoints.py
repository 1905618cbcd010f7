"""/v1/webhooks: HTTP in, service, HTTP out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from app.predictions.providers.base import PROVIDERS
from app.predictions.schemas import WebhookAccepted
from app.predictions.webhooks import service
from app.predictions.webhooks.signatures import ID
from app.web import http
from app.web.operations import Operations
from app.web.state import State

# As Standard Webhooks has it.
_SIGNATURE = {
    "webhook-id": {"type": "string", "pattern": f"^{ID.pattern}$"},
    "webhook-timestamp": {"type": "string", "pattern": "^[0-9]{1,12}$", "description": "Seconds since 1970."},
    "webhook-signature": {"type": "string", "pattern": "^v1,[A-Za-z0-9+/]{43}=( v1,[A-Za-z0-9+/]{43}=)*$"},
}

OPERATIONS = Operations(tag="webhooks")


@OPERATIONS.post(
    "/v1/webhooks/{provider}",
    summary="Take a provider's signed webhook (Standard Webhooks)",
    status=202,
    result=WebhookAccepted,
    problems=(400, 401, 404, 413),
    public=True,
    # Providers send from few addresses, and a webhook that is refused is a result that comes late. Its signature
    # costs less to check than the count.
    rate_limited=False,
    parameters={"provider": {"type": "string", "enum": list(PROVIDERS)}},
    headers=_SIGNATURE,
    raw_body=True,
)
async def receive(request: Request[State]) -> Response:
    secrets = service.secrets_of(request.state, provider := request.path_params["provider"])
    webhook_id = await service.accept(
        request.state,
        provider,
        secrets=secrets,
        headers=request.headers,
        body=await request.body(),
        reference=request.query_params.get(service.REFERENCE),
    )
    return http.reply(WebhookAccepted(webhook_id=webhook_id), 202)
