"""/v1/predictions: HTTP in, service, HTTP out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from app.predictions import service
from app.predictions.schemas import PredictionIn, PredictionQuery
from app.web import caching, http, idempotency
from app.web.state import State


async def create(request: Request[State]) -> Response:
    user_id = http.authenticated(request)
    key = idempotency.key_of(request)
    given, texts = await http.body_and_texts(request, PredictionIn)
    http.check_names(texts, "input")
    accepted, replayed = await service.accept(http.state(request), user_id, given, texts["input"], key=key)
    headers = {"Location": f"/v1/predictions/{accepted.id}", **({"Idempotent-Replayed": "true"} if replayed else {})}
    return http.reply(accepted, 202, headers)


async def read(request: Request[State]) -> Response:
    user_id = http.authenticated(request)
    found = await service.get(http.state(request), user_id, http.path_id(request, service.missing()))
    return caching.reply_if_changed(request, found)


async def list_page(request: Request[State]) -> Response:
    user_id = http.authenticated(request)
    page = await service.page(http.state(request), user_id, http.query(request, PredictionQuery))
    return caching.reply_if_changed(request, page)


async def cancel(request: Request[State]) -> Response:
    user_id = http.authenticated(request)
    prediction_id = http.path_id(request, service.missing())
    return http.reply(await service.cancel(http.state(request), user_id, prediction_id), 202)
