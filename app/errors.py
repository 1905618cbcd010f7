"""Errors that a caller may see: one base, shown as an RFC 9457 problem document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class FieldError:
    """One thing wrong with the input. `pointer` is a JSON pointer into the body, or the name of a parameter."""

    pointer: str
    detail: str


class AppError(Exception):
    """What went wrong, in words for the caller: never an internal text, a value of a secret or a traceback."""

    status: int = 500
    type: str = "about:blank"

    def __init__(
        self, detail: str | None = None, *, errors: Sequence[FieldError] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    @property
    def title(self) -> str:
        return HTTPStatus(self.status).phrase

    def document(self, *, instance: str) -> dict[str, Any]:
        """The members of the problem document; `instance` is the request's path."""
        document: dict[str, Any] = {"type": self.type, "title": self.title, "status": self.status}
        if self.detail:
            document["detail"] = self.detail
        document["instance"] = instance
        if self.errors:
            document["errors"] = [{"pointer": e.pointer, "detail": e.detail} for e in self.errors]
        return document


class HttpError(AppError):
    """A problem that its status says in full."""

    def __init__(self, status: int, detail: str | None = None, *, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        super().__init__(detail, headers=headers)


class MalformedRequest(AppError):
    status = 400


class Unauthenticated(AppError):
    status = 401

    def __init__(self, detail: str, *, challenge: str = "Bearer") -> None:
        super().__init__(detail, headers={"WWW-Authenticate": challenge})


class NotFound(AppError):
    status = 404


class Conflict(AppError):
    status = 409


class ContentTooLarge(AppError):
    status = 413


class UnsupportedMediaType(AppError):
    status = 415


class InvalidInput(AppError):
    status = 422

    @classmethod
    def of(cls, pointer: str, detail: str) -> Self:
        """One thing is wrong: see FieldError."""
        return cls("the input is not valid", errors=[FieldError(pointer=pointer, detail=detail)])


class TooManyRequests(AppError):
    status = 429


class Unavailable(AppError):
    status = 503
