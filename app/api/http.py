"""Between HTTP and models: read a JSON body, a query or a header into one, answer with one, say who asks."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from app.api.state import State
from app.errors import AppError, FieldError, InvalidInput, MalformedRequest, Unauthenticated, UnsupportedMediaType
from app.security.tokens import InvalidToken, Token, Tokens

M = TypeVar("M", bound=BaseModel)

MAX_NESTING = 100

_IDENTITY = "slipway.identity"


class RequestModel(BaseModel):
    """Input: nothing unknown is accepted, so that a typo in an optional field is not silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ResponseModel(BaseModel):
    model_config = ConfigDict(frozen=True)


def state(request: Request[State]) -> State:
    return request.state


def reply(model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(model.model_dump_json(), status, headers, media_type="application/json")


async def body(request: Request[Any], model: type[M]) -> M:
    """The JSON body as `model`; raises the problem that says what is wrong with it."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaType("send the body as application/json")
    try:
        content = json.loads(await request.body(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise MalformedRequest("the body is not valid JSON") from None
    return validate(model, content)


def query(request: Request[Any], model: type[M]) -> M:
    """The query string as `model`. A parameter given twice is refused: which one counts would be a guess."""
    items = request.query_params.multi_items()
    parameters = dict(items)
    if len(parameters) < len(items):
        raise InvalidInput("a query parameter is given twice")
    return validate(model, parameters)


def validate(model: type[M], content: Any) -> M:
    try:
        return model.model_validate(content)
    except ValidationError as invalid:
        raise InvalidInput("the input is not valid", errors=list(_field_errors(invalid))) from None


def path_id(request: Request[Any], missing: AppError) -> uuid.UUID:
    """The `{id}` of the path; `missing` when it cannot be one of ours."""
    try:
        return uuid.UUID(request.path_params["id"])
    except ValueError:
        raise missing from None


def authenticated(request: Request[State]) -> uuid.UUID:
    """The account that asks; raises Unauthenticated."""
    identity = identify(request.scope, state(request)["tokens"])
    if isinstance(identity, Token):
        return identity.user_id
    raise (
        Unauthenticated(str(identity), challenge='Bearer error="invalid_token"')
        if identity
        else Unauthenticated("send an access token: Authorization: Bearer <token>")
    )


def identify(scope: Any, tokens: Tokens) -> Token | InvalidToken | None:
    """The request's checked access token, why it is not valid, or None without one. Checked once a request."""
    if _IDENTITY not in scope:
        scope[_IDENTITY] = _identify(scope, tokens)
    identity: Token | InvalidToken | None = scope[_IDENTITY]
    return identity


def _identify(scope: Any, tokens: Tokens) -> Token | InvalidToken | None:
    given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    scheme, _, text = given.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer":
        return None
    try:
        return tokens.check_access(text.strip())
    except InvalidToken as invalid:
        return invalid


def _field_errors(invalid: ValidationError) -> Iterator[FieldError]:
    for error in invalid.errors(include_url=False, include_context=False, include_input=False):
        pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in error["loc"])
        yield FieldError(pointer=pointer or "/", detail=error["msg"].removeprefix("Value error, "))


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def storable(value: Any) -> Any:
    """`check_storable` as a validator."""
    check_storable(value)
    return value


def check_storable(value: Any, *, depth: int = 0) -> None:
    """Raise ValueError for JSON that Postgres cannot hold, or that is nested beyond reason.

    Postgres knows no NUL and no unpaired surrogate in text, and JSON has no infinity.
    """
    if depth > MAX_NESTING:
        raise ValueError(f"is nested more than {MAX_NESTING} levels deep")
    match value:
        case str():
            if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
                raise ValueError("contains a NUL or an unpaired surrogate, which cannot be stored")
        case float() if not math.isfinite(value):
            raise ValueError("contains a number that is too large")
        case list():
            for item in value:
                check_storable(item, depth=depth + 1)
        case dict():
            for key, item in value.items():
                check_storable(key)
                check_storable(item, depth=depth + 1)
        case _:
            pass
