"""Between HTTP and models: read a JSON body or a query into one, answer with one."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from app import json_text
from app.errors import AppError, FieldError, InvalidInput, MalformedRequest, UnsupportedMediaType

M = TypeVar("M", bound=BaseModel)

MAX_NESTING = 100


class _Written:
    """Marks a member of an answer that holds its own JSON."""


WrittenJson = Annotated[str | None, WithJsonSchema({}), _Written()]
"""A member of an answer that is any JSON, as its text: it goes out as it is, unread. None is null."""
WrittenObject = Annotated[str, WithJsonSchema({"type": "object", "additionalProperties": True}), _Written()]


class RequestModel(BaseModel):
    """Input: nothing unknown is accepted, so that a typo in an optional field is not silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ResponseModel(BaseModel):
    model_config = ConfigDict(frozen=True)


def reply(model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(encode(model), status, headers, media_type="application/json")


def encode(model: BaseModel) -> str:
    """The answer's JSON."""
    written = _written(type(model))
    text = model.model_dump_json(exclude=written)
    if not written:
        return text
    members = {name: getattr(model, name) for name in type(model).model_fields if name in written}
    theirs = json_text.of_members({name: "null" if value is None else value for name, value in members.items()})
    return f"{text[:-1]},{theirs[1:]}" if text != "{}" else theirs


@cache
def _written(model: type[BaseModel]) -> set[str]:
    """The members whose text goes out as it is."""
    return {
        name for name, field in model.model_fields.items() if any(isinstance(it, _Written) for it in field.metadata)
    }


async def body(request: Request[Any], model: type[M]) -> M:
    """The JSON body as `model`; raises the problem that says what is wrong with it."""
    given, _ = await body_and_texts(request, model)
    return given


async def body_and_texts(request: Request[Any], model: type[M]) -> tuple[M, Mapping[str, str]]:
    """The JSON body as `model`, and the text of each of its members as the caller wrote it."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaType("send the body as application/json")
    try:
        # A byte order mark is passed over, as RFC 8259 allows; JSON in another encoding is not what it lets be sent.
        content, texts = json_text.read((await request.body()).decode().removeprefix("\ufeff"))
    except UnicodeDecodeError:
        raise MalformedRequest("the body is not UTF-8") from None
    except json_text.NotJson as error:
        raise MalformedRequest(f"the body is not JSON that can be read: {error}") from None
    except json_text.Repeated as repeated:
        raise _given_twice("", repeated) from None
    return validate(model, content), texts


def check_names(texts: Mapping[str, str], member: str) -> None:
    """Raise InvalidInput when a name is repeated in the object that is this member: its reader may take the first."""
    try:
        json_text.read(texts.get(member, "null"))
    except json_text.Repeated as repeated:
        raise _given_twice(f"/{member}", repeated) from None


def _given_twice(parent: str, repeated: json_text.Repeated) -> InvalidInput:
    return InvalidInput.of(parent + _step(repeated.name), "is given twice")


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


def _field_errors(invalid: ValidationError) -> Iterator[FieldError]:
    for error in invalid.errors(include_url=False, include_context=False, include_input=False):
        pointer = "".join(_step(part) for part in error["loc"])
        yield FieldError(pointer=pointer or "/", detail=error["msg"].removeprefix("Value error, "))


def _step(part: int | str) -> str:
    """Of a JSON pointer."""
    return "/" + str(part).replace("~", "~0").replace("/", "~1")


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


def _storable(value: Any) -> Any:
    check_storable(value)
    return value


Storable = AfterValidator(_storable)
