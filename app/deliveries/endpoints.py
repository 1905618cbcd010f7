"""/v1/deliveries: HTTP in, service, HTTP out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from app.deliveries import service
from app.deliveries.schemas import Accepted, DeliveryIn, DeliveryOut, DeliveryPage, DeliveryQuery
from app.deliveries.service import DeliveriesState
from app.web import caching, http, idempotency
from app.web.authentication import authenticated
from app.web.connections import IS_DISCONNECTED
from app.web.operations import Operations
from app.web.state import State

OPERATIONS = Operations(tag="deliveries")


@asynccontextmanager
async def lifespan(state: State) -> AsyncIterator[Mapping[str, Any]]:
    yield {"batcher": service.batcher(state)}


@OPERATIONS.post(
    "/v1/deliveries",
    summary="Have a webhook delivered",
    body=DeliveryIn,
    status=202,
    result=Accepted,
    problems=(422,),
    idempotent=True,
)
async def create(request: Request[DeliveriesState]) -> Response:
    user_id = authenticated(request)
    key = idempotency.key_of(request)
    given, texts = await http.body_and_texts(request, DeliveryIn)
    http.check_names(texts, "headers")
    accepted, replayed = await service.accept(
        request.state, user_id, given, texts["payload"], key=key, is_gone=request.scope.get(IS_DISCONNECTED)
    )
    return idempotency.reply(accepted, location=f"/v1/deliveries/{accepted.id}", replayed=replayed)


@OPERATIONS.get(
    "/v1/deliveries",
    summary="List deliveries, newest first",
    query=DeliveryQuery,
    result=DeliveryPage,
    problems=(422,),
    cached=True,
)
async def list_page(request: Request[State]) -> Response:
    user_id = authenticated(request)
    page = await service.page(request.state, user_id, http.query(request, DeliveryQuery))
    return caching.reply_if_changed(request, page)


@OPERATIONS.get(
    "/v1/deliveries/{id}", summary="One delivery with its attempts", result=DeliveryOut, problems=(404,), cached=True
)
async def read(request: Request[State]) -> Response:
    user_id, state = authenticated(request), request.state
    delivery_id = http.path_id(request, service.missing())
    if caching.asks_for_change(request):
        current = await service.tag(state, user_id, delivery_id)
        if caching.is_known(request, current):
            return caching.not_modified(current)
    found = await service.get(state, user_id, delivery_id)
    return caching.reply(found, service.tag_of(found.updated_at, found.attempt_count))


@OPERATIONS.post(
    "/v1/deliveries/{id}/retry", summary="Try a failed delivery again", status=202, result=Accepted, problems=(404, 409)
)
async def retry(request: Request[State]) -> Response:
    user_id = authenticated(request)
    delivery_id = http.path_id(request, service.missing())
    return http.reply(await service.retry(request.state, user_id, delivery_id), 202)
