"""Answers in gzip, for those who take it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipResponder, IdentityResponder
from starlette.types import ASGIApp, Receive, Scope, Send

MINIMUM_SIZE: Final = 1024
"""Bytes below which an answer is not worth the work."""

_WEIGHT = re.compile(r"[Qq]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


class CompressionMiddleware:
    """Starlette's middleware takes the word gzip in the header for a yes, also in `gzip;q=0`."""

    def __init__(self, app: ASGIApp, *, minimum_size: int = MINIMUM_SIZE) -> None:
        self.app, self.minimum_size = app, minimum_size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = ",".join(Headers(scope=scope).getlist("accept-encoding"))
        # Both say in `Vary` that the answer could have been another.
        responder = GZipResponder if takes_gzip(asked) else IdentityResponder
        await responder(self.app, self.minimum_size)(scope, receive, send)


@lru_cache(maxsize=64)
def takes_gzip(accept_encoding: str) -> bool:
    """Whether gzip is acceptable and not wanted less than the answer as it is (RFC 9110, 12.5.3).

    A weight that is none counts as 0. To who takes neither, the answer goes as it is.
    """
    weights: dict[str, float] = {}
    for part in accept_encoding.lower().split(","):
        coding, *parameters = (text.strip() for text in part.split(";"))
        weights[coding.removeprefix("x-")] = _weight(parameters)
    gzip = weights.get("gzip", weights.get("*", 0.0))
    return gzip > 0 and gzip >= weights.get("identity", 0.0)


def _weight(parameters: list[str]) -> float:
    if not parameters:
        return 1.0
    found = _WEIGHT.fullmatch(parameters[0])
    return float(found[1]) if found and len(parameters) == 1 else 0.0
