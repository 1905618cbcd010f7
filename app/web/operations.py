"""The operations of the API: what routes and the OpenAPI document are made from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.db import errors

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


class Operations(list[Operation]):
    """Of one tag, in the order of the document."""

    def __init__(self, tag: str) -> None:
        super().__init__()
        self._tag = tag

    def get(self, path: str, **described: Any) -> Callable[[Endpoint], Endpoint]:
        """Decorates an endpoint; the rest as in Operation."""
        return self._add("GET", path, described)

    def post(self, path: str, **described: Any) -> Callable[[Endpoint], Endpoint]:
        """As `get`."""
        return self._add("POST", path, described)

    def _add(
        self, method: Literal["GET", "POST"], path: str, described: dict[str, Any]
    ) -> Callable[[Endpoint], Endpoint]:
        def add(endpoint: Endpoint) -> Endpoint:
            self.append(Operation(method=method, path=path, endpoint=endpoint, tag=self._tag, **described))
            return endpoint

        return add


def routes(operations: Iterable[Operation]) -> list[Route]:
    """One a path, so that a 405 names every method of it."""
    paths: dict[str, dict[str, Endpoint]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = operation.endpoint
    return [Route(path, _by_method(endpoints), methods=list(endpoints)) for path, endpoints in paths.items()]


def _by_method(endpoints: Mapping[str, Endpoint]) -> Endpoint:
    async def endpoint(request: Request[Any]) -> Response:
        # Starlette answers HEAD wherever there is a GET.
        chosen = endpoints["GET" if request.method == "HEAD" else request.method]
        # The whole endpoint: nothing of it was committed, and the request keeps the body that was read.
        return await errors.again_async(lambda: chosen(request))

    return endpoint
