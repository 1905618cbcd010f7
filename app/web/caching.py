"""Answers that a client may keep, as long as it asks before it uses them again.

All tags are weak: the same answer goes out compressed or not, and a strong tag would promise the same bytes.
"""

from __future__ import annotations

import hashlib
from typing import Final

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from app.web import http
from app.web.state import State

CACHE_CONTROL: Final = "private, no-cache"

Tag = str
"""As it stands in the header: ``W/"…"``."""


def tag(*parts: object) -> Tag:
    """The tag of an answer that `parts` identify."""
    text = "\0".join(str(part) for part in parts)
    return f'W/"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}"'


def asks_for_change(request: Request[State]) -> bool:
    """Whether the client has an answer already: only then is it worth looking for the tag alone."""
    return "if-none-match" in request.headers


def is_known(request: Request[State], current: Tag) -> bool:
    given = [part.strip() for value in request.headers.getlist("if-none-match") for part in value.split(",")]
    return "*" in given or current.removeprefix("W/") in [part.removeprefix("W/") for part in given]


def not_modified(current: Tag) -> Response:
    return Response(status_code=304, headers=_headers(current))


def reply(model: BaseModel, current: Tag) -> Response:
    return http.reply(model, headers=_headers(current))


def reply_if_changed(request: Request[State], model: BaseModel) -> Response:
    """For an answer that has no version of its own: saves its way to the client, not the work for it."""
    text = http.encode(model)
    current = tag(text)
    if is_known(request, current):
        return not_modified(current)
    return Response(text, headers=_headers(current), media_type="application/json")


def _headers(current: Tag) -> dict[str, str]:
    return {"ETag": current, "Cache-Control": CACHE_CONTROL}
