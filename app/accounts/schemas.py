"""What the account endpoints take and give."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, SecretStr, WithJsonSchema

from app.accounts import passwords
from app.accounts.email_address import MAX_LENGTH, EmailAddress, parse_email, read_email
from app.web.http import RequestModel, ResponseModel


def _text(read: Callable[[str], EmailAddress]) -> PlainValidator:
    def validate(value: Any) -> EmailAddress:
        if not isinstance(value, str):
            raise ValueError("must be a string")
        return read(value)

    return PlainValidator(validate)


def _long_enough(password: SecretStr) -> SecretStr:
    """Neither letters that normalising joins nor a sign that it spells out make a password longer. One that is too long
    is not normalised at all."""
    typed = password.get_secret_value()
    fits = passwords.MIN_LENGTH <= len(typed) <= passwords.MAX_LENGTH
    if not fits or len(passwords.normalised(typed)) < passwords.MIN_LENGTH:
        raise ValueError(f"must have {passwords.MIN_LENGTH} to {passwords.MAX_LENGTH} characters")
    return password


def _encodable(password: SecretStr) -> SecretStr:
    """JSON can spell half a surrogate pair, which has no UTF-8 form to hash."""
    try:
        password.get_secret_value().encode()
    except UnicodeEncodeError:
        raise ValueError("contains an unpaired surrogate") from None
    return password


class Registration(RequestModel):
    email: Annotated[
        EmailAddress,
        _text(parse_email),
        WithJsonSchema({"type": "string", "format": "email", "maxLength": MAX_LENGTH}),
    ]
    password: Annotated[
        SecretStr,
        AfterValidator(_encodable),
        AfterValidator(_long_enough),
        Field(json_schema_extra={"minLength": passwords.MIN_LENGTH, "maxLength": passwords.MAX_LENGTH}),
    ]


class Login(RequestModel):
    """Any password is looked at, so that a wrong one and a too short one fail alike; any address, so that one that
    nobody can have fails like one that nobody has."""

    email: Annotated[EmailAddress, _text(read_email), WithJsonSchema({"type": "string", "maxLength": MAX_LENGTH})]
    password: Annotated[SecretStr, Field(max_length=passwords.MAX_LENGTH), AfterValidator(_encodable)]


class Refresh(RequestModel):
    refresh_token: SecretStr


class AccountOut(ResponseModel):
    id: uuid.UUID
    email: str
    created_at: datetime


class TokensOut(ResponseModel):
    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the scheme's name
    expires_in: int = Field(description="Life of the access token in seconds.")
