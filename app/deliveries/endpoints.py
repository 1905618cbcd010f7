"""/v1/deliveries: HTTP in, service, HTTP out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from app.deliveries import service
from app.deliveries.schemas import DeliveryIn, DeliveryQuery
from app.web import caching, http, idempotency
from app.web.refusals import IS_GONE
from app.web.state import State


async def create(request: Request[State]) -> Response:
    user_id = http.authenticated(request)
    key = idempotency.key_of(request)
    given, texts = await http.body_and_texts(request, DeliveryIn)
    http.check_names(texts, "headers")
    accepted, replayed = await service.accept(
        http.state(request), user_id, given, texts["payload"], key=key, is_gone=request.scope.get(IS_GONE)
    )
    headers = {"Location": f"/v1/deliveries/{accepted.id}", **({"Idempotent-Replayed": "true"} if replayed else {})}
    return http.reply(accepted, 202, headers)


async def read(request: Request[State]) -> Response:
    user_id, state = http.authenticated(request), http.state(request)
    delivery_id = http.path_id(request, service.missing())
    if caching.asks_for_change(request):
        current = await service.tag(state, user_id, delivery_id)
        if caching.is_known(request, current):
            return caching.not_modified(current)
    found = await service.get(state, user_id, delivery_id)
    return caching.reply(found, service.tag_of(found.updated_at, found.attempt_count))


async def list_page(request: Request[State]) -> Response:
    user_id = http.authenticated(request)
    page = await service.page(http.state(request), user_id, http.query(request, DeliveryQuery))
    return caching.reply_if_changed(request, page)


async def retry(request: Request[State]) -> Response:
    user_id = http.authenticated(request)
    delivery_id = http.path_id(request, service.missing())
    return http.reply(await service.retry(http.state(request), user_id, delivery_id), 202)
