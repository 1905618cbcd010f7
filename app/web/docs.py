"""/openapi.json, and Swagger UI at /docs from files on this machine: the page's policy allows no other origin."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from app.errors import NotFound, Unavailable
from app.settings import Settings
from app.web.middleware.security_headers import DOCS_PATH
from app.web.operations import Operation

_ASSETS_PACKAGE = "offapi"
_ASSETS = {
    "swagger-ui.js": ("swagger_bundle.js", "text/javascript"),
    "swagger-ui.css": ("swagger_style.css", "text/css"),
}
_PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{DOCS_PATH}/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="{DOCS_PATH}/swagger-ui.js"></script>
<script src="{DOCS_PATH}/start.js"></script>
</body>
</html>
"""
_START = 'SwaggerUIBundle({ url: "/openapi.json", dom_id: "#api", persistAuthorization: false });\n'


def routes(settings: Settings, operations: Sequence[Operation]) -> list[BaseRoute]:
    @lru_cache(maxsize=1)
    def document() -> str:
        from app.web.openapi import document

        return json.dumps(document(settings, operations))

    async def openapi(_: Request) -> Response:
        return Response(document(), media_type="application/json")

    return [
        Route("/openapi.json", openapi),
        Route(DOCS_PATH, _page),
        Route(f"{DOCS_PATH}/start.js", _start),
        Route(f"{DOCS_PATH}/{{name}}", _asset),
    ]


async def _page(_: Request) -> Response:
    if _assets() is None:
        raise Unavailable(f"the page's files are not installed (package {_ASSETS_PACKAGE}); /openapi.json is there")
    return HTMLResponse(_PAGE)


async def _start(_: Request) -> Response:
    return Response(_START, media_type="text/javascript")


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    folder = _assets()
    if name not in _ASSETS or folder is None:
        raise NotFound
    file, media_type = _ASSETS[name]
    return FileResponse(folder / file, media_type=media_type)


@lru_cache(maxsize=1)
def _assets() -> Path | None:
    """The folder of the package, found without importing it: that would read all of its 9 MB."""
    spec = find_spec(_ASSETS_PACKAGE)
    return Path(spec.origin).parent if spec and spec.origin else None
