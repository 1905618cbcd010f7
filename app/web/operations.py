"""Every operation of the API in one table: the routes are made from it, and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from app.accounts import endpoints as auth
from app.accounts.schemas import AccountOut, Login, Refresh, Registration, TokensOut
from app.deliveries import endpoints as deliveries
from app.deliveries.schemas import Accepted, DeliveryIn, DeliveryOut, DeliveryPage, DeliveryQuery
from app.predictions import endpoints as predictions
from app.predictions.schemas import (
    PredictionAccepted,
    PredictionIn,
    PredictionOut,
    PredictionPage,
    PredictionQuery,
)
from app.predictions.webhooks import endpoints as webhooks
from app.predictions.webhooks.schemas import WebhookAccepted

Endpoint = Callable[[Request[Any]], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True)
class Operation:
    method: Literal["GET", "POST"]
    path: str
    endpoint: Endpoint
    summary: str
    tag: str
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    status: int = 200
    result: type[BaseModel]
    problems: tuple[int, ...] = ()
    public: bool = False
    """Whether it answers without an access token."""
    idempotent: bool = False
    """Whether it takes an Idempotency-Key."""
    cached: bool = False
    """Whether its answer has an ETag, and If-None-Match may get a 304."""

    signed: bool = False
    """Whether it is signed in headers, as Standard Webhooks has it."""

    @property
    def name(self) -> str:
        return f"{self.tag}_{self.endpoint.__name__}"


OPERATIONS = (
    Operation(
        method="POST",
        path="/v1/auth/register",
        endpoint=auth.register,
        summary="Create an account",
        tag="auth",
        body=Registration,
        status=201,
        result=AccountOut,
        problems=(409, 422),
        public=True,
    ),
    Operation(
        method="POST",
        path="/v1/auth/login",
        endpoint=auth.log_in,
        summary="Log in",
        tag="auth",
        body=Login,
        result=TokensOut,
        problems=(401, 422),
        public=True,
    ),
    Operation(
        method="POST",
        path="/v1/auth/refresh",
        endpoint=auth.refresh,
        summary="Exchange a refresh token for a new pair, again only within a minute",
        tag="auth",
        body=Refresh,
        result=TokensOut,
        problems=(401, 422),
        public=True,
    ),
    Operation(
        method="GET",
        path="/v1/auth/me",
        endpoint=auth.me,
        summary="The account that asks",
        tag="auth",
        result=AccountOut,
    ),
    Operation(
        method="POST",
        path="/v1/deliveries",
        endpoint=deliveries.create,
        summary="Have a webhook delivered",
        tag="deliveries",
        body=DeliveryIn,
        status=202,
        result=Accepted,
        problems=(422,),
        idempotent=True,
    ),
    Operation(
        method="GET",
        path="/v1/deliveries",
        endpoint=deliveries.list_page,
        summary="List deliveries, newest first",
        tag="deliveries",
        query=DeliveryQuery,
        result=DeliveryPage,
        problems=(422,),
        cached=True,
    ),
    Operation(
        method="GET",
        path="/v1/deliveries/{id}",
        endpoint=deliveries.read,
        summary="One delivery with its attempts",
        tag="deliveries",
        result=DeliveryOut,
        problems=(404,),
        cached=True,
    ),
    Operation(
        method="POST",
        path="/v1/deliveries/{id}/retry",
        endpoint=deliveries.retry,
        summary="Try a failed delivery again",
        tag="deliveries",
        status=202,
        result=Accepted,
        problems=(404, 409),
    ),
    Operation(
        method="POST",
        path="/v1/predictions",
        endpoint=predictions.create,
        summary="Have a provider compute a prediction",
        tag="predictions",
        body=PredictionIn,
        status=202,
        result=PredictionAccepted,
        problems=(422,),
        idempotent=True,
    ),
    Operation(
        method="GET",
        path="/v1/predictions",
        endpoint=predictions.list_page,
        summary="List predictions, newest first",
        tag="predictions",
        query=PredictionQuery,
        result=PredictionPage,
        problems=(422,),
        cached=True,
    ),
    Operation(
        method="GET",
        path="/v1/predictions/{id}",
        endpoint=predictions.read,
        summary="One prediction with its result",
        tag="predictions",
        result=PredictionOut,
        problems=(404,),
        cached=True,
    ),
    Operation(
        method="POST",
        path="/v1/predictions/{id}/cancel",
        endpoint=predictions.cancel,
        summary="Call a prediction off",
        tag="predictions",
        status=202,
        result=PredictionAccepted,
        problems=(404, 409),
    ),
    Operation(
        method="POST",
        path="/v1/webhooks/{provider}",
        endpoint=webhooks.receive,
        summary="Take a provider's signed webhook (Standard Webhooks)",
        tag="webhooks",
        status=202,
        result=WebhookAccepted,
        problems=(400, 401, 404, 413),
        public=True,
        signed=True,
    ),
)
