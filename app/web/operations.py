"""An operation of the API: what its route and its part of the OpenAPI document are made from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

Endpoint = Callable[[Request[Any]], Awaitable[Response]]
Schema = Mapping[str, Any]
"""JSON Schema."""


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
    rate_limited: bool = True
    parameters: Mapping[str, Schema] = field(default_factory=dict)
    """Of its path, besides `id`."""
    headers: Mapping[str, Schema] = field(default_factory=dict)
    """That every request has."""
    raw_body: bool = False
    """Whether its body is any JSON object, which the endpoint reads itself."""

    @property
    def name(self) -> str:
        return f"{self.tag}_{self.endpoint.__name__}"
