"""Who a request comes from, by its access token; how that is read is the authenticator's, which the API is given."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.types import Scope

from app.errors import Unauthenticated

_IDENTITY = "slipway.identity"


class InvalidToken(Exception):
    """The token is not one of ours, or no longer valid; `str()` may be shown to the caller."""


Authenticate = Callable[[str], uuid.UUID]
"""The account of an access token; raises InvalidToken."""


def authenticated(request: Request[Any]) -> uuid.UUID:
    """The account that asks; raises Unauthenticated."""
    identity = identify(request.scope, request.state["authenticate"])
    if isinstance(identity, uuid.UUID):
        return identity
    if identity is None:
        raise Unauthenticated("send an access token: Authorization: Bearer <token>")
    raise Unauthenticated(str(identity), challenge='Bearer error="invalid_token"')


def identify(scope: Scope, authenticate: Authenticate) -> uuid.UUID | InvalidToken | None:
    """The account, or why its token is not accepted; None without one. Looked up once for a request."""
    if _IDENTITY not in scope:
        scope[_IDENTITY] = _identify(scope, authenticate)
    identity: uuid.UUID | InvalidToken | None = scope[_IDENTITY]
    return identity


def _identify(scope: Scope, authenticate: Authenticate) -> uuid.UUID | InvalidToken | None:
    given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    scheme, _, text = given.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer":
        return None
    try:
        return authenticate(text.strip())
    except InvalidToken as invalid:
        return invalid
