"""Routes out of the table of operations: one a path, so that a 405 names every method of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.db import errors
from app.web.operations import Endpoint, Operation


def routes(operations: Iterable[Operation]) -> list[Route]:
    paths: dict[str, dict[str, Endpoint]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = operation.endpoint
    return [Route(path, _by_method(endpoints), methods=list(endpoints)) for path, endpoints in paths.items()]


def _by_method(endpoints: Mapping[str, Endpoint]) -> Endpoint:
    async def endpoint(request: Request[Any]) -> Response:
        # Starlette answers HEAD wherever there is a GET.
        chosen = endpoints["GET" if request.method == "HEAD" else request.method]
        # Whole, so that no endpoint needs to know: nothing of it was committed, and the request keeps the body it read.
        return await errors.again_async(lambda: chosen(request))

    return endpoint
