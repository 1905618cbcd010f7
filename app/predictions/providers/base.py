"""What all providers have in common: the words for a prediction's state, and the calls that move it."""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from app.json_text import storable

ProviderName = Literal["replicate", "openai"]
PROVIDERS: tuple[ProviderName, ...] = ("replicate", "openai")

_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_ERROR_CHARACTERS = 2_000


class Unreadable(ValueError):
    """The provider's JSON is not what its API describes."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A prediction to start. `input`: the text of a JSON object, which goes to the provider as its user wrote it.
    `webhook` is where the provider sends its end; None without one.
    """

    prediction_id: uuid.UUID
    model: str
    input: str
    webhook: str | None


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request to the provider's API; `path` follows its base URL, `body` is JSON."""

    method: Literal["GET", "POST"]
    path: str
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A prediction as the provider sees it. `reference` is our own id, where the provider hands it back."""

    provider_id: str
    status: Literal["processing", "succeeded", "failed", "canceled"]
    output: Any = None
    error: str | None = None
    reference: uuid.UUID | None = None

    @property
    def finished(self) -> bool:
        return self.status != "processing"


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A webhook that says that a prediction has ended. Without a snapshot the provider must be asked for the result."""

    provider_id: str
    snapshot: Snapshot | None


class Dialect(Protocol):
    """One provider's API."""

    @property
    def name(self) -> ProviderName: ...

    def check(self, model: str, input: Mapping[str, Any]) -> None:
        """Raise ValueError(member, why) for what the provider's API has no place for; it knows its models itself."""

    def submit(self, submission: Submission) -> Call: ...

    def fetch(self, provider_id: str) -> Call: ...

    def cancel(self, provider_id: str) -> Call: ...

    def read(self, document: Any) -> Snapshot:
        """The answer to each of the three calls; raises Unreadable."""

    def notice(self, document: Any) -> Notice | None:
        """A webhook's body; None when it is about anything but the end of a prediction. Raises Unreadable."""

    def problem(self, document: Any) -> str | None:
        """The message in an error's body."""


def members(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise Unreadable("not a JSON object")
    return document


def identifier(value: Any) -> str:
    """An id of the provider, of a form that can stand in a path."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise Unreadable("no usable id")
    return value


def message(value: Any) -> str | None:
    """An error's text, bounded; None for anything that is none."""
    return value[:_ERROR_CHARACTERS] if isinstance(value, str) and value.strip() else None


def parse(raw: bytes) -> Any:
    """The JSON in `raw`, as Postgres can hold it; raises Unreadable.

    A model may well write a NUL or half a surrogate pair: the rest of its answer is not lost for that.
    """
    try:
        return _storable(json.loads(raw, parse_constant=lambda _: None))
    except (ValueError, RecursionError):
        raise Unreadable("not JSON, or nested beyond reason") from None


def _storable(value: Any) -> Any:
    match value:
        case str():
            return storable(value)
        case float() if not math.isfinite(value):
            return None
        case list():
            return [_storable(item) for item in value]
        case dict():
            return {_storable(name): _storable(item) for name, item in value.items()}
        case _:
            return value
