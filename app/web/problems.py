"""Errors to answers: every failure of a request leaves as `application/problem+json`."""

from __future__ import annotations

import json

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.db import errors
from app.errors import AppError, HttpError, Unavailable
from app.observability.logging import get_logger

MEDIA_TYPE = "application/problem+json"

_BUSY = "the database is busy"
_TROUBLES = {
    errors.Kind.AWAY: "the database cannot be reached",
    errors.Kind.READ_ONLY: "the database takes no writes at the moment",
}

log = get_logger()


def problem(error: AppError, *, instance: str) -> Response:
    return Response(
        json.dumps(error.document(instance=instance)), error.status, headers=error.headers, media_type=MEDIA_TYPE
    )


async def on_error(request: Request, error: Exception) -> Response:
    """Starlette's handler for its own HTTPException (404, 405, 413) and for ours."""
    return problem(translate(error), instance=request.url.path)


def translate(error: Exception) -> AppError:
    """The error as the caller may see it; everything unforeseen becomes a bare 500."""
    match error:
        case AppError():
            return error
        case HTTPException():
            return HttpError(error.status_code, headers=error.headers)
        case _ if (kind := errors.kind(error)).passes:
            return Unavailable(f"{_TROUBLES.get(kind, _BUSY)}, try again", headers={"Retry-After": "2"})
        case _:
            return HttpError(500)


class ProblemMiddleware:
    """Answers an exception with a problem, and logs those that are faults of this program."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_wrapper(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, send_wrapper)
        except ClientDisconnect:
            log.info("client went away")
        except Exception as error:
            known = translate(error)
            if known.status == 500:
                log.exception("request failed")
            elif known.status == 503 and not isinstance(error, AppError):
                log.warning("database unavailable", reason=errors.reason(error))
            if started:
                # A part of the answer has been sent: only a cut connection shows the client that it is not whole.
                raise
            await problem(known, instance=scope["path"])(scope, receive, send)
