"""/v1/predictions: HTTP in, service, HTTP out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from app.predictions import service
from app.predictions.schemas import (
    PredictionAccepted,
    PredictionIn,
    PredictionOut,
    PredictionPage,
    PredictionQuery,
)
from app.predictions.webhooks import endpoints as webhooks
from app.web import caching, http, idempotency
from app.web.authentication import authenticated
from app.web.operations import Operations
from app.web.state import State

OPERATIONS = Operations(tag="predictions")


@OPERATIONS.post(
    "/v1/predictions",
    summary="Have a provider compute a prediction",
    body=PredictionIn,
    status=202,
    result=PredictionAccepted,
    problems=(422,),
    idempotent=True,
)
async def create(request: Request[State]) -> Response:
    user_id = authenticated(request)
    key = idempotency.key_of(request)
    given, texts = await http.body_and_texts(request, PredictionIn)
    http.check_names(texts, "input")
    accepted, replayed = await service.accept(request.state, user_id, given, texts["input"], key=key)
    return idempotency.reply(accepted, location=f"/v1/predictions/{accepted.id}", replayed=replayed)


@OPERATIONS.get(
    "/v1/predictions",
    summary="List predictions, newest first",
    query=PredictionQuery,
    result=PredictionPage,
    problems=(422,),
    cached=True,
)
async def list_page(request: Request[State]) -> Response:
    user_id = authenticated(request)
    page = await service.page(request.state, user_id, http.query(request, PredictionQuery))
    return caching.reply_if_changed(request, page)


@OPERATIONS.get(
    "/v1/predictions/{id}", summary="One prediction with its result", result=PredictionOut, problems=(404,), cached=True
)
async def read(request: Request[State]) -> Response:
    user_id = authenticated(request)
    found = await service.get(request.state, user_id, http.path_id(request, service.missing()))
    return caching.reply_if_changed(request, found)


@OPERATIONS.post(
    "/v1/predictions/{id}/cancel",
    summary="Call a prediction off",
    status=202,
    result=PredictionAccepted,
    problems=(404, 409),
)
async def cancel(request: Request[State]) -> Response:
    user_id = authenticated(request)
    prediction_id = http.path_id(request, service.missing())
    return http.reply(await service.cancel(request.state, user_id, prediction_id), 202)


OPERATIONS += webhooks.OPERATIONS
